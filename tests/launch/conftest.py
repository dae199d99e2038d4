"""The stand-in of Kaggle and what talks to it, for the tests of the verbs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.kaggle_client import Kernels, explain
from launch.kaggle_datasets import Datasets
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
def connection(lines: list[str]) -> Connection:
    return Connection(
        "train-b5",
        timeouts_secs=(2, 0.6),
        sleep=lambda _: None,
        report=lines.append,
        explain=explain,
    )


@pytest.fixture
def kernels(connection: Connection) -> Kernels:
    return Kernels(connection)


@pytest.fixture
def datasets(connection: Connection) -> Datasets:
    return Datasets(connection)
