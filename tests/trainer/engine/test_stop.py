"""Deadlines and signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.engine.stop import JOB_START_VARIABLE, StopSignal, parse_duration
from trainer.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h40m", 31200), ("90m", 5400), ("30s", 30), ("1h1m1s", 3661), ("45", 45), ("0s", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "8h40", "h", "8 h", "-5m", "1.5h"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="duration"):
        parse_duration(text)


@pytest.fixture
def restore_sigterm() -> object:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("restore_sigterm")
def test_sigterm_is_a_reason_to_stop() -> None:
    stop = StopSignal(None)
    assert stop.reason(1e9) is None
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.reason(0) == "SIGTERM"


@pytest.mark.usefixtures("restore_sigterm")
def test_a_deadline_counts_from_the_start_of_the_process_and_leaves_time_to_finish() -> None:
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - _start_of_this_process()
    stop = StopSignal(age + 1000)
    assert stop.reason(900) is None
    assert stop.reason(1010) == "deadline"


@pytest.mark.usefixtures("restore_sigterm")
def test_a_deadline_counts_from_the_start_of_the_job_if_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(JOB_START_VARIABLE, f"{time.time() - 1_000_000:.3f}")
    stop = StopSignal(1_001_000)
    assert stop.reason(900) is None
    assert stop.reason(1010) == "deadline"


def test_a_clock_that_jumps_moves_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop = StopSignal(100_000_000)
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert stop.reason(0) is None
    signal.signal(signal.SIGTERM, before)


def _start_of_this_process() -> float:
    """Seconds after boot, from field 22 of proc(5)."""
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def test_a_sigterm_that_others_would_swallow_is_kept_for_us() -> None:
    # In a process of its own: threads that exist already would take the signal.
    script = """
import os, signal
from trainer.engine.stop import StopSignal
stop = StopSignal(None)
stop.hold()
signal.signal(signal.SIGTERM, lambda *_: None)  # as TensorFlow does
os.kill(os.getpid(), signal.SIGTERM)
assert stop.reason(0) is None
stop.release()
assert stop.reason(0) == "SIGTERM"
"""
    repository = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", script], cwd=repository, check=True, timeout=60)
