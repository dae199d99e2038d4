"""A user with a token, a competition and a file, before a stand-in of Kaggle."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kaggle_server import KaggleServer, redirected_client, sign_in
from trainer.submission.connection import Connection
from trainer.submission.file import write_submission

SOLUTION = {f"{number}.jpg": str(number % 4) for number in range(20)}


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleServer]:
    """The stand-in, with the real client redirected to it and a valid token in the environment."""
    sign_in(monkeypatch, tmp_path / "home")
    with KaggleServer() as server, redirected_client(server):
        server.competitions["cars"].solution = SOLUTION
        yield server


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Lets the time pass at once."""
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    """The clock of `connect`."""
    return Clock()


@pytest.fixture
def lines() -> list[str]:
    """What was reported to the user."""
    return []


@pytest.fixture
def connect(clock: Clock, lines: list[str]) -> Callable[..., Connection]:
    """Makes connections that report to `lines` and sleep on `clock`."""

    def make(competition: str = "cars") -> Connection:
        return Connection(
            competition, timeouts_secs=(2, 0.4), sleep=clock.sleep, report=lines.append
        )

    return make


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    """A submission of which 15 of 20 labels are right."""
    path = tmp_path / "submission.csv"
    labels = [label if index < 15 else "9" for index, label in enumerate(SOLUTION.values())]
    write_submission(path, list(SOLUTION), labels, id_column="Id", label_column="Category")
    return path
