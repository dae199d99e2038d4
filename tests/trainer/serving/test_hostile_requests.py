"""Requests that are wrong, large, slow or meant to harm: a clear 4xx, and the service lives on."""

import json
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trainer.serving.running import RunningService, make_photo, many_scans


@pytest.fixture(autouse=True)
def lives_on(service: RunningService) -> Iterator[None]:
    yield
    assert service.post(make_photo()).status_code == 200


def exchange(service: RunningService, sent: bytes, *, seconds: float = 10) -> bytes:
    """Bytes for bytes, until the service closes or is silent."""
    host, port = service.url.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(sent)
        try:
            while part := connection.recv(65536):
                received += part
        except TimeoutError:
            pass
        except ConnectionResetError:
            received += b"(reset)"
    return received


def head(length: int | None, kind: str = "image/png", more: str = "") -> bytes:
    """Of a request for a prediction."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = (
        f"POST /v1/predict HTTP/1.1\r\nHost: here\r\nContent-Type: {kind}\r\n{size}\r\n{more}\r\n"
    )
    return lines.encode()


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("text/plain", b"hello", 415),
        ("application/x-www-form-urlencoded", b"a=b", 415),
        ("", b"hello", 415),
        ("image/png", b"", 422),
        ("image/png", b"hello", 422),
        ("application/json", b"", 400),
        ("application/json", b"{", 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b"\xff\xfe", 400),
        ("application/json", b"{}", 422),
        ("application/json", b'{"photos": []}', 422),
        ("application/json", b'{"photos": [{"data": "!"}]}', 422),
        ("application/json", b'{"photos": [{"data": "\xc3\xa9"}]}', 422),
        ("multipart/form-data", b"hello", 400),
        ("multipart/form-data; boundary=x", b"hello", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 422),
        (
            "multipart/form-data; boundary=x; charset=nonsense",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
            422,
        ),
    ],
)
def test_a_wrong_body_is_told_what_is_wrong(
    service: RunningService, kind: str, body: bytes, status: int
):
    response = service.post(body, kind)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"]


@pytest.mark.parametrize("query", ["?top_k=0", "?top_k=x", "?activation=perhaps"])
def test_a_wrong_parameter_is_told(service: RunningService, query: str):
    response = service.post(make_photo(), query=query)
    assert response.status_code == 422
    assert query[1:].partition("=")[0] in response.json()["detail"]


def test_a_compressed_body_is_refused(service: RunningService):
    response = service.client.post(
        f"{service.url}/v1/predict",
        content=make_photo(),
        headers={"Content-Type": "image/png", "Content-Encoding": "gzip"},
    )
    assert response.status_code == 415


def test_too_large_a_body_is_refused_by_its_declared_length(service: RunningService):
    assert service.post(b"\0" * 1_000_001).status_code == 413


@pytest.mark.parametrize(
    "kind", ["image/png", "application/json", "multipart/form-data; boundary=x"]
)
def test_too_large_a_body_without_a_length_is_refused(service: RunningService, kind: str):
    def chunks() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
        for _ in range(40):
            yield b" " * 50_000

    response = service.client.post(
        f"{service.url}/v1/predict", content=chunks(), headers={"Content-Type": kind}
    )
    assert response.status_code == 413


def test_more_photos_than_the_queue_holds_are_refused(service: RunningService):
    files = [("photo", (f"{index}.png", make_photo())) for index in range(40)]
    assert service.client.post(f"{service.url}/v1/predict", files=files).status_code == 413
    sent = {"photos": [{"data": ""}] * 40}
    assert service.client.post(f"{service.url}/v1/predict", json=sent).status_code == 413


def test_json_that_would_fill_memory_when_read_does_not(service: RunningService):
    body = b'{"photos":[' + b",".join([b'{"data":""}'] * 80_000) + b"]}"
    response = service.post(body, "application/json")
    assert response.status_code == 413
    assert "more values" in response.json()["detail"], "it was read before it was counted"


def test_a_photo_that_declares_too_many_pixels_is_refused_undecoded(service: RunningService):
    response = service.post(make_photo(size=(2500, 2500)))
    assert response.status_code == 413
    assert "2500 x 2500 pixels" in response.json()["detail"]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a\0b", "x" * 3000, "<script>", "ü.png", ""]
)
def test_names_of_photos_are_only_words(service: RunningService, name: str):
    response = service.client.post(
        f"{service.url}/v1/predict", files={"photo": (name, make_photo())}, timeout=30
    )
    assert response.status_code in (200, 400, 422)
    assert "root:" not in response.text


@pytest.mark.parametrize(
    "path",
    ["/../etc/passwd", "/pages/../app.py", "/pages/%2e%2e/app.py", "/pages//etc/passwd", "/%00"],
)
def test_no_other_files_are_served(service: RunningService, path: str):
    answer = exchange(
        service, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 404")


def test_another_method_is_refused(service: RunningService):
    response = service.client.get(f"{service.url}/v1/predict")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
        head(5, more="Transfer-Encoding: chunked\r\nContent-Length: 7\r\n") + b"hello",
        head(None) + b"zzz\r\nhello\r\n0\r\n\r\n",
        head(-1) + b"hello",
    ],
    ids=["words", "long head", "two lengths", "chunk size", "negative length"],
)
def test_what_is_not_http_is_refused(service: RunningService, sent: bytes):
    answer = exchange(service, sent, seconds=6)
    assert answer.startswith(b"HTTP/1.1 400") or answer in (b"", b"(reset)")


def test_pipelined_requests_are_answered_in_order(service: RunningService):
    red, blue = make_photo("red"), make_photo("blue")
    last = head(len(blue), more="Connection: close\r\n") + blue
    answer = exchange(service, head(len(red)) + red + head(len(blue)) + blue + last)
    assert answer.count(b"HTTP/1.1 200") == 3
    names = [
        json.loads(part.partition(b"HTTP/1.1")[0])["photos"][0]["classes"][0]["name"]
        for part in answer.split(b"\r\n\r\n")[1:]
    ]
    assert names == ["red", "blue", "blue"]


def test_who_sends_too_slowly_is_told_in_time(service: RunningService):
    """The time limit of this service is 4 s."""
    started = time.monotonic()
    answer = exchange(service, head(1000) + b"\x89PNG", seconds=20)
    assert answer.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - started < 12


def test_the_time_to_send_and_the_time_to_answer_are_one(service: RunningService):
    """3 s to send of the 4 s, and 2 s in the decoder; a clock for each would take 5 s."""
    photo = many_scans(4000)
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head(len(photo), "image/jpeg") + photo[:-1])
        time.sleep(3)
        connection.sendall(photo[-1:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 503")


def test_who_never_ends_the_head_is_cut_off_in_time(service: RunningService):
    started = time.monotonic()
    assert exchange(service, b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n", seconds=20) in (
        b"",
        b"(reset)",
    )
    assert 2 < time.monotonic() - started < 12


def test_who_leaves_in_the_middle_of_a_body_harms_nobody(service: RunningService):
    host, port = service.url.removeprefix("http://").split(":")
    for _ in range(20):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head(1000) + b"\x89PNG")
    assert service.metric("serve_queue_photos") == 0
    name = 'serve_requests_total{path="/v1/predict",status="500"}'
    assert service.metric(name) == 0


@given(body=st.binary(max_size=300), kind=st.sampled_from(["x", "image/png", "application/json"]))
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_bytes_make_it_fail(service: RunningService, body: bytes, kind: str):
    kind = "multipart/form-data; boundary=x" if kind == "x" else kind
    body = b"--x\r\n" + body if kind.startswith("multipart") else body
    assert 400 <= service.post(body, kind).status_code < 500


@given(place=st.integers(0, 400), byte=st.integers(0, 255), cut=st.integers(0, 400))
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_damage_to_a_multipart_body_makes_it_fail(
    service: RunningService, place: int, byte: int, cut: int
):
    whole = bytearray(
        b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + make_photo() + b"\r\n--x--\r\n"
    )
    whole[place % len(whole)] = byte
    response = service.post(
        bytes(whole[: len(whole) - cut // 2]), "multipart/form-data; boundary=x"
    )
    assert response.status_code in (200, 400, 413, 422), response.text
