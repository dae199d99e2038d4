"""A stand-in for Cloud Storage's JSON API on a loopback port, with failures on demand.

It knows what the real client sends for listing, reading, deleting, multipart and resumable
uploads (https://cloud.google.com/storage/docs/json_api/v1).
"""

import base64
import json
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import google_crc32c


class GcsServer(ThreadingHTTPServer):
    """Keeps objects in memory; answers every `fail_every`-th request with 429 and 503 in turn."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), GcsRequestHandler)
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.uploads: dict[str, tuple[str, bytearray]] = {}
        self.fail_every = 0
        self.num_requests = self.num_failures = self.num_chunks = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """What STORAGE_EMULATOR_HOST must be."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def put(self, name: str, data: bytes) -> None:
        """Stores an object; `name` is bucket/path."""
        with self.lock:
            generation = self.objects[name][1] + 1 if name in self.objects else 1
            self.objects[name] = (data, generation)

    def files(self, prefix: str) -> dict[str, bytes]:
        """Returns all objects below bucket/prefix."""
        return {
            name[len(prefix) + 1 :]: data
            for name, (data, _) in self.objects.items()
            if name.startswith(f"{prefix}/")
        }


class GcsRequestHandler(BaseHTTPRequestHandler):
    """What the Python client of Cloud Storage asks for."""

    protocol_version = "HTTP/1.1"
    server: GcsServer

    def _route(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        body = self._body()
        if self._fails():
            return
        path = url.path.removeprefix("/upload").removeprefix("/download")
        if bucket := re.fullmatch(r"/storage/v1/b/([^/]+)", path):
            self.reply(200, {"name": bucket[1], "location": "EU"})
            return
        match = re.fullmatch(r"/storage/v1/b/([^/]+)/o(?:/(.+))?", path)
        assert match is not None, self.path
        bucket, name = match[1], urllib.parse.unquote(match[2] or "")
        if self.command == "PUT":
            self._resume(query["upload_id"], body)
        elif self.command == "POST":
            self._upload(bucket, query, body)
        elif not name:
            self._list(bucket, query.get("prefix", ""), query.get("delimiter", ""))
        elif f"{bucket}/{name}" not in self.server.objects:
            self.reply(404, {"error": {"code": 404, "message": "No such object"}})
        elif self.command == "DELETE":
            del self.server.objects[f"{bucket}/{name}"]
            self.reply(204, None)
        elif query.get("alt") == "media":
            data = self.server.objects[f"{bucket}/{name}"][0]
            self.send(200, data, {"X-Goog-Hash": f"crc32c={_crc32c(data)}"})
        else:
            self.reply(200, self._resource(f"{bucket}/{name}"))

    def do_GET(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    do_PUT = do_DELETE = _route

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _fails(self) -> bool:
        server = self.server
        with server.lock:
            server.num_requests += 1
            if not server.fail_every or server.num_requests % server.fail_every:
                return False
            server.num_failures += 1
            code = 429 if server.num_failures % 2 else 503
        self.reply(code, {"error": {"code": code, "message": "try again"}})
        return True

    def _list(self, bucket: str, prefix: str, delimiter: str) -> None:
        start = f"{bucket}/{prefix}"
        names = [name for name in sorted(self.server.objects) if name.startswith(start)]
        items, folders = [], set()
        for name in names:
            folder, inner, _ = name.removeprefix(start).partition(delimiter or "\0")
            if inner:
                folders.add(f"{prefix}{folder}{delimiter}")
            else:
                items.append(self._resource(name))
        self.reply(200, {"items": items, "prefixes": sorted(folders)})

    def _upload(self, bucket: str, query: dict[str, str], body: bytes) -> None:
        if query["uploadType"] == "resumable":
            upload_id = str(len(self.server.uploads))
            name = f"{bucket}/{self.uploaded_name(query, body)}"
            self.server.uploads[upload_id] = (name, bytearray())
            location = f"{self.upload_location()}&upload_id={upload_id}"
            self.send(200, b"", {"Location": location})
            return
        if query["uploadType"] == "media":
            self.server.put(f"{bucket}/{query['name']}", body)
            self.reply(200, self._resource(f"{bucket}/{query['name']}"))
            return
        boundary = b"--" + self.headers["Content-Type"].split("boundary=")[1].strip("\"'").encode()
        _, metadata, content, _ = body.split(boundary)
        resource = json.loads(metadata.split(b"\r\n\r\n", 1)[1])
        name = f"{bucket}/{resource['name']}"
        self.server.put(name, content.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n"))
        self.reply(200, self._resource(name))

    def uploaded_name(self, query: dict[str, str], body: bytes) -> str:
        """Of the object that a resumable upload is going to be."""
        return str(json.loads(body)["name"])

    def upload_location(self) -> str:
        """Where a resumable upload goes on, without its id."""
        return f"{self.server.url}{self.path}"

    def _resume(self, upload_id: str, body: bytes) -> None:
        name, received = self.server.uploads[upload_id]
        first, _, total = re.fullmatch(
            r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.headers["Content-Range"]
        ).groups()
        if first is not None:
            self.server.num_chunks += 1
            assert int(first) == len(received)
            received += body
        if total != "*" and len(received) == int(total):
            self.server.put(name, bytes(received))
            self.reply(200, self._resource(name))
            return
        self.send(308, b"", {"Range": f"bytes=0-{len(received) - 1}"} if received else {})

    def _resource(self, name: str) -> dict[str, str]:
        data, generation = self.server.objects[name]
        bucket, _, path = name.partition("/")
        return {
            "bucket": bucket,
            "name": path,
            "size": str(len(data)),
            "generation": str(generation),
            "updated": "2026-01-01T00:00:00.000Z",
            "crc32c": _crc32c(data),
        }

    def reply(self, code: int, content: object) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send(code, body, {"Content-Type": "application/json"})

    def send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if code != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
