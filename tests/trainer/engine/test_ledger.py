"""Where the time went: nothing twice, and what a kill lost is told by the next start."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

from trainer.engine.checkpoints import Checkpoints
from trainer.engine.ledger import LOST, TimeLedger
from trainer.progress import Progress

ARRAYS = {"w": np.zeros(3, np.float32)}


def test_moved_seconds_are_counted_once() -> None:
    ledger = TimeLedger()
    ledger.add("compile", 5.0)
    ledger.move(2.0, "compile", "step")
    assert ledger.counted_secs() == 5.0
    assert ledger.take() == {"compile": 3.0, "step": 2.0}
    assert ledger.take() == {}


@pytest.mark.parametrize(
    ("is_restart", "counted"), [(False, {"build": 3.0}), (True, {LOST: 2.0, "build": 1.0})]
)
def test_preparations_are_told_by_name_and_lost_in_a_restart(
    is_restart: bool, counted: dict[str, float]
) -> None:
    ledger = TimeLedger()
    ledger.is_restart = is_restart
    ledger.add_prepared("build", 2.0)
    assert ledger.take_prepared() == {"build": 2.0}
    # The start is over: what the next stage prepares is not lost.
    ledger.add_prepared("build", 1.0)
    assert ledger.take() == counted


def test_what_a_kill_would_lose_grows_from_the_last_take(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    ledger = TimeLedger(started=90.0)
    assert ledger.unsaved_secs() == 10.0
    ledger.add_lost(7.0)
    assert ledger.unsaved_secs() == 17.0
    assert ledger.take() == {LOST: 7.0}
    now[0] = 103.0
    assert ledger.unsaved_secs() == 3.0


def after_a_kill(run_dir: Path) -> Checkpoints:
    """Another process finds what the one before has left."""
    checkpoints = Checkpoints(str(run_dir))
    checkpoints.load_newest()
    return checkpoints


def noted(run_dir: Path, seconds: float, step: int | None) -> Checkpoints:
    checkpoints = Checkpoints(str(run_dir))
    if step is not None:
        checkpoints.save(ARRAYS, dataclasses.replace(Progress(), step=step))
    checkpoints.note_unsaved(seconds)
    checkpoints._thread.shutdown(wait=True)
    return checkpoints


@pytest.mark.parametrize("step", [None, 5])
def test_the_next_start_knows_what_was_lost(step: int | None, tmp_path: Path) -> None:
    noted(tmp_path, 12.5, step)
    assert after_a_kill(tmp_path).lost_secs() == 12.5


def test_a_note_on_an_older_checkpoint_says_nothing(tmp_path: Path) -> None:
    noted(tmp_path, 12.5, step=5)
    newer = Checkpoints(str(tmp_path))
    newer.save(ARRAYS, dataclasses.replace(Progress(), step=6))
    newer.wait()
    assert after_a_kill(tmp_path).lost_secs() == 0.0


def test_a_broken_note_loses_nothing_but_itself(tmp_path: Path) -> None:
    noted(tmp_path, 12.5, step=5)
    (tmp_path / "checkpoints" / "unsaved.json").write_text("{")
    assert after_a_kill(tmp_path).lost_secs() == 0.0


def test_notes_are_rare(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path))
    for seconds in (1.0, 2.0, 3.0):
        checkpoints.note_unsaved(seconds)
    checkpoints._thread.shutdown(wait=True)
    assert after_a_kill(tmp_path).lost_secs() == 1.0
