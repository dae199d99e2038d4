"""Cloud Storage for an unmodified TensorFlow: a proxy that answers in the name of Google's hosts.

TensorFlow's own `gs://` knows no other address, but curl below it obeys `https_proxy` and
`CURL_CA_BUNDLE`. So the proxy takes every CONNECT, shows a certificate of a throwaway authority,
and serves the objects of a `GcsServer` with the calls that TensorFlow adds to those of the Python
client: ranges, listings by folder, and copies.
"""

import datetime
import ssl
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.tfrecords_builder.gcs_server import GcsRequestHandler, GcsServer

HOSTS = ("storage.googleapis.com", "www.googleapis.com")


class TensorFlowGcs:
    """A `GcsServer` that TensorFlow and the Python client of another process reach.

    Args:
        folder: for the certificates.
    """

    def __init__(self, folder: Path):
        self.objects = GcsServer()
        self._authority, server_pem = _write_certificates(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server_pem)
        self._proxy = _Proxy(self.objects, context)

    def environment(self) -> dict[str, str]:
        """What the other process needs."""
        return {
            "STORAGE_EMULATOR_HOST": self.objects.url,
            "https_proxy": f"http://127.0.0.1:{self._proxy.server_address[1]}",
            "CURL_CA_BUNDLE": str(self._authority),
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
            "NO_GCE_CHECK": "true",
        }

    def close(self) -> None:
        """Stops both servers."""
        for server in (self._proxy, self.objects):
            server.shutdown()
            server.server_close()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, objects: GcsServer, context: ssl.SSLContext):
        super().__init__(("127.0.0.1", 0), _ConnectHandler)
        self.objects, self.context = objects, context
        Thread(target=self.serve_forever, daemon=True).start()


class _ConnectHandler(BaseHTTPRequestHandler):
    server: _Proxy

    def do_CONNECT(self) -> None:
        self.send_response(200, "Connection established")
        self.end_headers()
        try:
            with self.server.context.wrap_socket(self.connection, server_side=True) as secured:
                _TensorFlowHandler(secured, self.client_address, self.server.objects)
        except OSError:  # A client that was killed on purpose.
            pass
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class _TensorFlowHandler(GcsRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/storage/"):
            super().do_GET()
            return
        # The XML interface: /bucket/object, in part.
        name = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path.removeprefix("/"))
        if name not in self.server.objects:
            self.reply(404, None)
            return
        data = self.server.objects[name][0]
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        part = data[int(first) : int(last) + 1]
        self.send(206 if part else 416, part, {})

    def do_POST(self) -> None:
        source, is_copy, target = self.path.partition("/rewriteTo")
        if not is_copy:
            super().do_POST()
            return
        data = self.server.objects[_name_in(source.removeprefix("/storage/v1"))][0]
        self.server.put(_name_in(target), data)
        self.reply(200, {"done": True})

    def uploaded_name(self, query: dict[str, str], body: bytes) -> str:
        return query["name"] if "name" in query else super().uploaded_name(query, body)

    def upload_location(self) -> str:
        return f"https://{HOSTS[1]}{self.path}"


def _name_in(path: str) -> str:
    """bucket/object of /b/bucket/o/object, as the JSON interface writes it."""
    _, _, bucket, _, name = path.split("/", 4)
    return f"{bucket}/{urllib.parse.unquote(name)}"


def _write_certificates(folder: Path) -> tuple[Path, Path]:
    """Writes an authority, and a key with a certificate for `HOSTS`; returns both files."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Tests")])
    host = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOSTS[0])])
    now = datetime.datetime.now(datetime.UTC)
    pem = []
    for subject, key, is_authority in ((issuer, keys[0], True), (host, keys[1], False)):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in HOSTS]), critical=False
            )
        )
        certificate = builder.sign(keys[0], hashes.SHA256())
        pem.append(certificate.public_bytes(serialization.Encoding.PEM))
    secret = keys[1].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    authority, server = folder / "authority.pem", folder / "server.pem"
    authority.write_bytes(pem[0])
    server.write_bytes(pem[1] + secret)
    return authority, server
