"""Tasks in worker processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfrecords_builder.workers import WorkerError, photo_done, run_in_workers


def double(number: int) -> int:
    photo_done()
    return 2 * number


def environment(name: str) -> str | None:
    return os.environ.get(name)


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def kill_idle_workers(task: tuple[int, Path]) -> None:
    number, folder = task
    (folder / str(number)).write_text(str(os.getpid()))
    time.sleep(0.2)  # So that every worker gets one task.
    if number == 0:
        time.sleep(0.3)  # By now the others wait for another one.
        for other in "12":
            os.kill(int((folder / other).read_text()), signal.SIGKILL)
        time.sleep(0.2)


def lose_idle_workers(folder: Path) -> None:
    tasks = [(number, folder) for number in range(5)]
    with pytest.raises(WorkerError):
        run_in_workers(kill_idle_workers, tasks, num_workers=5)


def refuse(number: int) -> int:
    raise ValueError(f"not {number}")


@pytest.mark.parametrize("num_workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(num_workers: int) -> None:
    seen: list[int] = []
    results = run_in_workers(double, range(20), num_workers=num_workers, on_progress=seen.append)
    assert results == [2 * number for number in range(20)]
    assert seen[-1] == 20
    assert seen == sorted(seen)


def test_no_tasks_are_no_results() -> None:
    assert run_in_workers(double, [], num_workers=2) == []


def test_workers_see_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    run_in_workers(double, [1, 2], num_workers=2)
    monkeypatch.setenv("SET_LATER", "yes")
    assert run_in_workers(environment, ["SET_LATER"] * 2, num_workers=2) == ["yes", "yes"]


def test_a_killed_worker_is_one_clear_error() -> None:
    with pytest.raises(WorkerError, match="fewer --workers"):
        run_in_workers(die, [1, 2], num_workers=2)


def test_no_worker_waits_forever_for_a_killed_one(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from tests.tfrecords_builder.test_workers import lose_idle_workers; "
        "lose_idle_workers(pathlib.Path(sys.argv[1]))"
    )
    # In a process of its own, since the defect would be to hang.
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_errors_of_tasks_reach_the_caller(num_workers: int) -> None:
    with pytest.raises(ValueError, match="not "):
        run_in_workers(refuse, [1, 2], num_workers=num_workers)
