"""A web server on the loopback that behaves like a storage bucket on a bad day."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Bucket:
    """What the server holds, and how it misbehaves."""

    content: bytes
    etag: str = '"one"'
    honest_md5: bool = True
    cut_after: list[int] = field(default_factory=list)
    """Bytes after which the next answers end, one entry an answer."""
    statuses: list[int] = field(default_factory=list)
    """Errors that the next answers are."""
    ranges: list[str | None] = field(default_factory=list)
    """The Range header of each request."""
    url: str = ""

    def address(self, name: str = "weights.tar.gz") -> str:
        return f"{self.url}/{name}"


@contextmanager
def serve(bucket: Bucket) -> Iterator[Bucket]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            bucket.ranges.append(wanted)
            if bucket.statuses and (status := bucket.statuses.pop(0)) != 200:
                self.send_error(status)
                return
            start = 0
            if wanted and self.headers.get("If-Range") == bucket.etag:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            body = bucket.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("ETag", bucket.etag)
            self.send_header("Content-Length", str(len(body)))
            if start:
                size = len(bucket.content)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            hashed = bucket.content if bucket.honest_md5 else b"something else"
            md5 = base64.b64encode(hashlib.md5(hashed).digest()).decode()
            self.send_header("x-goog-hash", f"crc32c=AAAAAA==,md5={md5}")
            self.end_headers()
            self.wfile.write(body[: bucket.cut_after.pop(0)] if bucket.cut_after else body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    bucket.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield bucket
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
