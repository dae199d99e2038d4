"""Starting, being busy, and stopping."""

import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.trainer.serving.conftest import StartService
from tests.trainer.serving.running import REPOSITORY, make_photo, many_scans
from trainer.serving.decoding import DecoderLimits, DecoderPool
from trainer.serving.predictor import load_predictor
from trainer.serving.server import listen
from trainer.serving.service import Service
from trainer.serving.settings import ServiceSettings
from trainer.serving.web_server import make_server


def test_the_parts_of_an_answer_do_not_wait_for_each_other():
    """The body of an answer on a kept connection came 40 ms after its head."""
    with (
        listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_sigterm_answers_what_was_taken_and_ends_with_0(start_service: StartService):
    service = start_service()
    photo = make_photo(size=(1500, 1500))
    files = [("photo", (f"{index}.png", photo)) for index in range(20)]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            lambda: service.client.post(f"{service.url}/v1/predict", files=files, timeout=60)
        )
        while service.metric("serve_queue_photos") == 0 and not waiting.done():
            pass
        service.process.send_signal(signal.SIGTERM)
        assert len(waiting.result().json()["photos"]) == 20
    assert service.process.wait(30) == 0
    assert service.process.stdout is not None
    assert service.process.stdout.read() == "stopped; everything accepted was answered\n"


def test_who_stops_it_twice_is_told_what_was_not_answered(start_service: StartService):
    service = start_service()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: service.post(many_scans(4000), "image/jpeg"))
        while service.metric("serve_queue_photos") == 0:
            pass
        service.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        service.process.send_signal(signal.SIGINT)
    assert service.process.wait(10) == 0
    assert service.process.stdout is not None
    assert service.process.stdout.read() == "stopped; accepted, but not answered: 1 photos\n"
    assert service.process.stderr is not None
    assert "Traceback" not in service.process.stderr.read()


def test_photos_that_take_long_to_decode_close_the_door_too(start_service: StartService):
    """Else those would be let in for whom there is no time: 503 in the place of 429."""
    service = start_service("--timeout_s=12")
    photo = many_scans(600)
    assert service.post(photo, "image/jpeg").status_code == 200
    with ThreadPoolExecutor(30) as pool:
        sent = [pool.submit(service.post, photo, "image/jpeg") for _ in range(30)]
        statuses = {waiting.result().status_code for waiting in sent}
    assert statuses == {200, 429}


def test_a_signal_before_it_listens_ends_it(colour_model: Path):
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    limits = DecoderLimits(max_pixels=1, decoder_mb=1, timeout_s=1)
    predictor, _ = load_predictor(colour_model, 1)
    service = Service(predictor, DecoderPool(limits, 1), ServiceSettings())
    try:
        server = make_server(service, access_log=False)
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert server.should_exit


def test_a_draining_service_is_not_ready_but_answers(start_service: StartService):
    service = start_service("--drain_s=5")
    with httpx.Client(base_url=service.url) as client:
        assert client.get("/readyz").status_code == 200
        service.process.send_signal(signal.SIGTERM)
        while client.get("/readyz").status_code == 200:
            pass
        assert client.get("/readyz").status_code == 503
        body = {"content": make_photo(), "headers": {"Content-Type": "image/png"}}
        assert client.post("/v1/predict", **body).status_code == 200
    assert service.process.wait(30) == 0


def test_a_full_queue_says_when_to_come_again(start_service: StartService):
    service = start_service("--queue=1")
    photo = make_photo(size=(3000, 3000))
    responses: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: responses.append(service.post(photo))) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {response.status_code for response in responses} == {200, 429}
    refused = next(response for response in responses if response.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.slow
def test_a_short_load_loses_nothing(colour_model: Path):
    done = subprocess.run(
        [
            *(sys.executable, "benchmarks/serve_load.py", f"--model={colour_model}"),
            *("--minutes=0.1", "--clients=16", "--flags=--queue=4 --threads=1"),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "x 429" in done.stdout
    assert "lost 0 of" in done.stdout


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--model=/nowhere.tflite", "is not a .tflite or .onnx file"),
        ("--model=README.md", "is not a .tflite or .onnx file"),
        ("--model=docs", "holds none"),
        ("--queue=0", "need a positive number"),
        ("--timeout_s=nan", "need a positive number"),
        ("--timeout_s=inf", "need a positive number"),
        ("--port=99999", "cannot be had"),
    ],
)
def test_a_mistake_is_one_line(colour_model: Path, flag: str, message: str):
    done = subprocess.run(
        [sys.executable, "-m", "trainer.serve", f"--model={colour_model}", flag],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("missing", "suffix", "install"),
    [
        ("uvicorn", ".tflite", "staged-trainer[serve]"),
        ("ai_edge_litert", ".tflite", "ai-edge-litert"),
        ("onnxruntime", ".onnx", "onnxruntime"),
    ],
)
def test_what_is_not_installed_is_one_line(tmp_path: Path, missing: str, suffix: str, install: str):
    model = tmp_path / f"model{suffix}"
    model.touch()
    program = (
        f"import sys; sys.modules[{missing!r}] = None; from trainer.serve import *; "
        "command_line.run(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"--model={model}", "--port=0"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert f"needs {missing}" in done.stderr
    assert f"pip install '{install}'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_no_model_is_one_line(tmp_path: Path):
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"nothing")
    done = subprocess.run(
        [sys.executable, "-m", "trainer.serve", f"--model={path}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
