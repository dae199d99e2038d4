"""The stand-in of Kaggle and what talks to it, for the tests of the verbs."""

import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import launch.kaggle_package
from launch.kaggle_client import Kernels
from launch.kaggle_datasets import Datasets
from launch.kaggle_errors import Explain, explain, with_doctor
from tests.kaggle_server import KaggleServer, redirected_client, sign_in
from trainer.submission.connection import Connection


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleServer]:
    sign_in(monkeypatch, tmp_path / "home")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # the client keeps uploads there
    monkeypatch.setattr("time.sleep", lambda _: None)  # the client sleeps on its own
    with KaggleServer() as server, redirected_client(server):
        yield server


@pytest.fixture
def lines() -> list[str]:
    """What was reported to the user."""
    return []


@pytest.fixture
def explanation() -> Explain:
    """How refusals are explained: as the verbs do it."""
    return with_doctor(explain)


@pytest.fixture
def connection(lines: list[str], explanation: Explain) -> Connection:
    return Connection(
        "train-b5",
        timeouts_secs=(2, 0.6),
        sleep=lambda _: None,
        report=lines.append,
        explain=explanation,
    )


@pytest.fixture
def kernels(connection: Connection) -> Kernels:
    return Kernels(connection)


@pytest.fixture
def datasets(connection: Connection) -> Datasets:
    return Datasets(connection)


@pytest.fixture(scope="session")
def packed_once() -> Iterator[None]:
    """Packs the project, which takes a second, for the first script only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("launch.kaggle_package.pack", functools.cache(launch.kaggle_package.pack))
        yield


@pytest.fixture(scope="session")
def empty_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a virtual environment that holds nothing, not even pip."""
    folder = tmp_path_factory.mktemp("python") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"
