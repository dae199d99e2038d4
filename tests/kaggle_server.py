"""A stand-in for api.kaggle.com on the loopback interface, for the real kaggle client.

It speaks the part of the protocol that submitting, downloading and kernels need, as kaggle 2.2.4
and kagglesdk 0.1.37 send it: JSON by POST to /v1/<service>/<request>, files by PUT to a signed
address that can be gone on with, data by a redirect to a store that answers ranges, logs as
server-sent events. It checks credentials, really scores the
files, and fails on request at every step. Like the real one it leaves fields out that have their
default value.
"""

import base64
import contextlib
import csv
import gzip
import importlib.util
import io
import itertools
import json
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from tests.kaggle_machines import Machines, Refused

TOKEN = "KGAT_secret-token-of-the-test"
USERNAME, KEY = "driver", "secret-key-of-the-test"
SIGNATURE = "secret-signature-of-the-test"


@dataclass(kw_only=True)
class Fault:
    """What happens to one request instead of its answer."""

    status: int = 0
    """HTTP status to answer with; 0 for the faults below."""
    message: str = "a fault of the test"
    retry_after: str | None = None
    hang: bool = False
    """No answer until the server is closed."""
    cut: bool = False
    """The connection ends without an answer."""
    garbled: bool = False
    """A page of some proxy, with status 200."""
    after_action: bool = False
    """What was asked for is done first: only the answer is lost."""


@dataclass(kw_only=True)
class Competition:
    """One competition and what its participant has done in it."""

    solution: dict[str, str] = field(default_factory=dict)
    """Label of each id."""
    daily_limit: int = 5
    polls_until_scored: int = 1
    """How often a new submission is listed as pending."""
    rules_accepted: bool = True
    page_size: int = 100
    """The longest page that the server gives."""
    archive: bytes = b""
    """The data as a zip file."""
    submissions: list[dict[str, Any]] = field(default_factory=list)
    """Newest last."""


class KaggleServer:
    """The stand-in; a context manager that serves while it is open."""

    def __init__(self) -> None:
        self.competitions: dict[str, Competition] = {"cars": Competition()}
        self.calls: list[str] = []
        """Names of the requests in the order they came."""
        self.blobs: dict[str, tuple[str, bytes]] = {}
        """File name and content by upload token."""
        self.blob_sizes: dict[str, int] = {}
        """Announced size by upload token."""
        self.machines = Machines()
        self.cut_upload_after: int | None = None
        """Bytes after which the next upload breaks off; those are kept."""
        self.upload_starts: list[int] = []
        """Where uploads were gone on with, in bytes."""
        self.clock_ahead_secs = 0
        """How far the server's clock is ahead of the true time."""
        self.cut_data_after: int | None = None
        """Bytes after which the next download breaks off."""
        self.compresses_outputs = False
        """Whether outputs are sent with gzip to those who take it."""
        self.range_starts: list[int] = []
        """Where downloads were asked to go on, in bytes."""
        self.closed = threading.Event()
        self.lock = threading.Lock()
        self._faults: dict[str, list[Fault]] = defaultdict(list)
        handler = type("Handler", (_Handler,), {"server_state": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "KaggleServer":
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()
        self._http.shutdown()
        self._http.server_close()

    def signed(self, path: str) -> str:
        """An address of the store that it lets pass."""
        return f"{self.url}{path}?signature={SIGNATURE}"

    def fail(self, call: str, fault: Fault, times: int = 1) -> None:
        """Lets the next `times` requests of that name (`Upload` and `Data` for the store) fail."""
        self._faults[call] += [fault] * times

    def heal(self) -> None:
        """Forgets the faults that are still due."""
        self._faults.clear()

    def next_fault(self, call: str) -> Fault | None:
        """Takes the fault that is due for this request."""
        with self.lock:
            self.calls.append(call)
            return self._faults[call].pop(0) if self._faults[call] else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: ClassVar[KaggleServer]

    def log_message(self, *_: object) -> None:
        """Says nothing: test output is for failures."""

    def do_POST(self) -> None:
        call = urlsplit(self.path).path.rsplit("/", 1)[-1]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._respond(call, lambda: self._api(call, json.loads(body or b"{}")))

    def do_PUT(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if (cut := self.server_state.cut_upload_after) is not None and length:
            self.server_state.cut_upload_after = None
            self.server_state.calls.append("Upload")
            self._store_blob(self.rfile.read(cut))
            self._misbehave(Fault(cut=True))
            return
        body = self.rfile.read(length)
        self._respond("Upload", lambda: self._store_blob(body))

    def do_GET(self) -> None:
        if "/logs/stream/" in self.path:
            self._respond("Logs", self._serve_log)
        elif self.path.startswith("/output/"):
            self._respond("Output", self._serve_output)
        else:
            self._respond("Data", self._serve_data)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """For the header Date."""
        return super().date_time_string((timestamp or time.time()) + self._clock_ahead())

    def _clock_ahead(self) -> int:
        return self.server_state.clock_ahead_secs

    def _respond(self, call: str, action: Any) -> None:
        fault = self.server_state.next_fault(call)
        try:
            if fault is None or fault.after_action:
                answer = action()
            if fault is not None:
                return self._misbehave(fault)
            if answer is not None:
                self._send(200, json.dumps(answer).encode(), "application/json")
        except Refused as refused:
            self._send_error(refused.status, str(refused))
        return None

    def _misbehave(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.status:
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            self._send_error(fault.status, fault.message, headers)
        elif fault.garbled:
            self._send(200, b"<html>Please log in to the hotel's network</html>", "text/html")
        elif fault.hang:
            self.server_state.closed.wait(30)
        elif fault.cut:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def _send_error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"code": status, "message": message}).encode()
        self._send(status, body, "application/json", headers)

    def _send(
        self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None
    ) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Type": kind}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    # The API

    def _api(self, call: str, body: dict[str, Any]) -> dict[str, Any] | None:
        if call == "IntrospectToken":
            active = body.get("token") == TOKEN
            return {"active": True, "username": USERNAME} if active else {}
        self._check_credentials()
        with self.server_state.lock:
            if call == "StartBlobUpload":
                return self._start_upload(body["name"], body["contentLength"])
            answer = self.server_state.machines.answer(call, body, self.server_state)
        if answer is not None:
            return answer
        name = body.get("competitionName", "")
        competition = self.server_state.competitions.get(name)
        if competition is None:
            raise Refused(404, "Not found")
        with self.server_state.lock:
            return self._competition_call(call, name, competition, body)

    def _check_credentials(self) -> None:
        basic = base64.b64encode(f"{USERNAME}:{KEY}".encode()).decode()
        if self.headers.get("Authorization") not in (f"Bearer {TOKEN}", f"Basic {basic}"):
            raise Refused(401, "Unauthenticated")

    def _start_upload(self, name: str, size: int) -> dict[str, Any]:
        token = f"blob-{len(self.server_state.blobs)}"
        self.server_state.blobs[token] = (name, b"")
        self.server_state.blob_sizes[token] = size
        return {"token": token, "createUrl": self.server_state.signed(f"/upload/{token}")}

    def _competition_call(
        self, call: str, name: str, competition: Competition, body: dict[str, Any]
    ) -> dict[str, Any] | None:
        if call == "ListSubmissions":
            return self._list(competition, body)
        if call == "GetSubmissionLimits":
            count = len(competition.submissions)
            left = max(competition.daily_limit - count, 0)
            return _without_defaults(numToday=count, numTotal=count, numAllowedNow=left)
        if not competition.rules_accepted:
            raise Refused(403, "You must accept this competition's rules before you can continue")
        if call == "ListDataFiles":
            return {}
        if call == "DownloadDataFiles":
            self.send_response(302)
            self.send_header("Location", f"/data/{name}.zip?signature={SIGNATURE}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        if call == "StartSubmissionUpload":
            return self._start_upload(body["fileName"], 0)
        if call == "CreateSubmission":
            return self._create(competition, body)
        raise Refused(404, f"the stand-in knows no {call}")

    def _list(self, competition: Competition, body: dict[str, Any]) -> dict[str, Any]:
        size = min(int(body.get("pageSize", 20)), competition.page_size)
        start = (int(body.get("page", 1)) - 1) * size
        newest_first = competition.submissions[::-1][start : start + size]
        rows = [_without_defaults(**_public(submission)) for submission in newest_first]
        for submission in newest_first:
            submission["polls"] -= 1
        return _without_defaults(submissions=rows)

    def _create(self, competition: Competition, body: dict[str, Any]) -> dict[str, Any]:
        if len(competition.submissions) >= competition.daily_limit:
            raise Refused(400, "Your team has used its daily Submission allowance")
        file_name, content = self.server_state.blobs[body["blobFileTokens"]]
        if not content:
            raise Refused(400, "The file was not uploaded")
        score, error = _score(content, competition.solution)
        ref = 40_000_000 + len(competition.submissions)
        competition.submissions.append(
            {
                "ref": ref,
                "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z"),
                "fileName": file_name,
                "totalBytes": len(content),
                "description": body.get("submissionDescription", ""),
                "publicScore": score,
                "errorDescription": error,
                "submittedBy": USERNAME,
                "polls": competition.polls_until_scored,
            }
        )
        return {"message": "Successfully submitted to Cars", "ref": ref}

    # The store

    def _store_blob(self, content: bytes) -> dict[str, Any] | None:
        token = self._signed_name()
        name, stored = self.server_state.blobs[token]
        wanted = self.headers.get("Content-Range", "")
        if wanted.startswith("bytes */"):
            if len(stored) == int(wanted.removeprefix("bytes */")):
                return {}
            received = {"Range": f"bytes=0-{len(stored) - 1}"} if stored else {}
            self._send(308, b"", "text/plain", received)
            return None
        start = int(wanted.removeprefix("bytes ").split("-")[0]) if wanted else 0
        if start:
            self.server_state.upload_starts.append(start)
        self.server_state.blobs[token] = (name, stored[:start] + content)
        return {}

    def _serve_output(self) -> None:
        content, headers = self.server_state.blobs[self._signed_name()][1], {}
        if self.server_state.compresses_outputs and "gzip" in self.headers["Accept-Encoding"]:
            content, headers = gzip.compress(content), {"Content-Encoding": "gzip"}
        self._send(200, content, "application/octet-stream", headers)

    def _serve_log(self) -> None:
        self._check_credentials()
        owner, name = self.path.split("/")[-2:]
        events = self.server_state.machines.log_stream(owner, name)
        first = next(events)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for event in itertools.chain([first], events):
                self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        except ConnectionAbortedError:
            self.close_connection = True

    def _serve_data(self) -> None:
        name = self._signed_name().removesuffix(".zip")
        data = self.server_state.competitions[name].archive
        start = 0
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            self.server_state.range_starts.append(start)
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{len(data)}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT")
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data)
        if self.server_state.cut_data_after is not None:
            end = start + self.server_state.cut_data_after
            self.server_state.cut_data_after = None
            self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(data[start:end])

    def _signed_name(self) -> str:
        address = urlsplit(self.path)
        if address.query != f"signature={SIGNATURE}":
            raise Refused(403, "SignatureDoesNotMatch")
        return address.path.rsplit("/", 1)[-1]


def _public(submission: dict[str, Any]) -> dict[str, Any]:
    """What the list shows of a submission at this poll."""
    shown = {key: value for key, value in submission.items() if key != "polls"}
    if submission["polls"] > 0:
        return {**shown, "publicScore": "", "errorDescription": "", "status": "PENDING"}
    return {**shown, "status": "ERROR" if submission["errorDescription"] else "COMPLETE"}


def _score(content: bytes, solution: dict[str, str]) -> tuple[str, str]:
    """(accuracy as Kaggle writes it, "") or ("", why the file cannot be scored)."""
    rows = list(csv.reader(io.StringIO(content.decode())))[1:]
    labels = {row[0]: row[1] for row in rows}
    if labels.keys() != solution.keys():
        return "", f"Submission must have {len(solution)} rows"
    hits = sum(labels[name] == label for name, label in solution.items())
    return f"{hits / len(solution):.5f}", ""


def _without_defaults(**fields: Any) -> dict[str, Any]:
    defaults: tuple[object, ...] = ("", 0, [], "PENDING", None)
    return {name: value for name, value in fields.items() if value not in defaults}


@contextlib.contextmanager
def redirected_client(server: KaggleServer) -> Iterator[None]:
    """Sends the real client's traffic to the server.

    `KAGGLE_API_ENVIRONMENT` does not do it: `KaggleApi` of 2.2.4 names production explicitly.
    """
    from kagglesdk import kaggle_env

    endpoints = kaggle_env._env_to_endpoint
    production = endpoints[kaggle_env.KaggleEnv.PROD]
    endpoints[kaggle_env.KaggleEnv.PROD] = server.url
    try:
        yield
    finally:
        endpoints[kaggle_env.KaggleEnv.PROD] = production


def sign_in(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Makes the environment that of a user with a valid token and an empty home; else skips."""
    for name in [name for name in os.environ if name.startswith("KAGGLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    require_client()
    # Importing it signs in, with a key without asking anybody; 2.2.3 exits if it cannot.
    monkeypatch.setenv("KAGGLE_USERNAME", USERNAME)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    importlib.import_module("kaggle")
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)


def require_client() -> None:
    """Skips the test where the real client is not installed."""
    if importlib.util.find_spec("kaggle") is None:
        pytest.skip("the real client is tested: pip install kaggle six")
