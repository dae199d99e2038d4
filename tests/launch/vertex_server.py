"""Vertex AI, Cloud Logging, Cloud Storage and Google's token service on loopback, with faults."""

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

PARENT = "/v1/projects/my-project/locations/us-central1/customJobs"


@dataclass
class VertexServer:
    """What the service knows, and how it will fail."""

    url: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: deque[str] = field(default_factory=deque)
    """What looking at a job finds, one after the other; the last stays."""
    entries: list[dict[str, Any]] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    faults: deque[tuple[str, str, Any]] = field(default_factory=deque)
    """(method, part of the path, status | "cut" | "lost" | "slow") for the next such request;
    "lost" does what was asked and breaks the connection instead of an answer."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    num_created: int = 0

    def fault_for(self, method: str, path: str) -> Any:
        for fault in self.faults:
            if fault[0] == method and fault[1] in path:
                self.faults.remove(fault)
                return fault[2]
        return None

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        self.num_created += 1
        name = f"{PARENT.removeprefix('/v1/')}/{1000 + self.num_created}"
        self.jobs[name] = {
            **body,
            "name": name,
            "state": "JOB_STATE_PENDING",
            "createTime": f"2026-11-0{self.num_created}T10:00:00Z",
        }
        return self.jobs[name]

    def finish(self, state: str) -> None:
        """Ends all jobs."""
        for job in self.jobs.values():
            job["state"] = state


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def vertex(self) -> VertexServer:
        return self.server.vertex  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        self._answer("GET", b"")

    def do_POST(self) -> None:
        self._answer("POST", self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self, method: str, body: bytes) -> None:
        address = urlparse(self.path)
        self.vertex.requests.append((method, self.path))
        fault = self.vertex.fault_for(method, self.path)
        if isinstance(fault, int):
            self._send(fault, {"error": {"code": fault, "message": f"planted {fault}"}})
            return
        if fault == "slow":
            time.sleep(1.5)
        if address.path != "/token" and self.headers.get("Authorization") != "Bearer fresh":
            self._send(401, {"error": {"message": "no token"}})
            return
        status, document = self._document(method, address.path, parse_qs(address.query), body)
        if fault == "lost":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._send(status, document, cut=fault == "cut")

    def _document(
        self, method: str, path: str, query: dict[str, list[str]], body: bytes
    ) -> tuple[int, Any]:
        vertex = self.vertex
        if path == "/token":
            return 200, {"access_token": "fresh", "expires_in": 3600, "token_type": "Bearer"}
        if path == "/v2/entries:list":
            since = json.loads(body)["filter"].rpartition('timestamp>="')[2].rstrip('"')
            return 200, {"entries": [each for each in vertex.entries if each["timestamp"] >= since]}
        if path.startswith("/storage/v1/b/"):
            found = vertex.objects.get(unquote(path))
            return (200, json.loads(found)) if found else (404, {"error": {"message": "none"}})
        if method == "POST" and path == PARENT:
            return 200, vertex.create(json.loads(body))
        if method == "GET" and path == PARENT:
            wanted = query["filter"][0].partition('="')[2].rstrip('"')
            jobs = [job for job in vertex.jobs.values() if wanted in job["labels"].values()]
            return 200, {"customJobs": jobs} if jobs else {}
        name = path.removeprefix("/v1/").removesuffix(":cancel")
        if name not in vertex.jobs:
            return 404, {"error": {"message": f"{name} was not found"}}
        job = vertex.jobs[name]
        if path.endswith(":cancel"):
            job["state"] = "JOB_STATE_CANCELLED"
            return 200, {}
        if vertex.states:
            job["state"] = vertex.states.popleft() if len(vertex.states) > 1 else vertex.states[0]
        return 200, job

    def _send(self, status: int, document: Any, cut: bool = False) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True


@contextmanager
def serving() -> Iterator[VertexServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.vertex = VertexServer(url=f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.vertex  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def environment(vertex: VertexServer, folder: Path) -> dict[str, str]:
    """Variables that send the real google-auth and our calls to the server."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "trainer@my-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{vertex.url}/token",
    }
    file = folder / "account.json"
    file.write_text(json.dumps(account))
    return {
        "GOOGLE_APPLICATION_CREDENTIALS": str(file),
        **{
            f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service}": vertex.url
            for service in ("AIPLATFORM", "LOGGING", "STORAGE")
        },
    }
