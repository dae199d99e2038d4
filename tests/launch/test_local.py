"""The command line of launch.local, without training."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.local import trainer_command
from tfrecords_builder.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launch.local", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_comes_in_a_blink() -> None:
    """Three tries, since the machine may be busy."""
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        assert "--num_workers" in launch("--help").stdout
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 0.5


def test_several_workers_get_their_strategy() -> None:
    assert trainer_command(["--data=d"], 2)[1:] == [
        "-m",
        "trainer.task",
        "--data=d",
        "--strategy=multiworker",
    ]
    assert trainer_command(["--data=d"], 1)[-1] == "--data=d"
    assert trainer_command(["--strategy=auto"], 2)[-1] == "--strategy=auto"


@pytest.mark.parametrize("given", [["--strategy=cpu"], ["--strategy", "cpu"], ["-strategy=cpu"]])
def test_another_strategy_for_several_workers_is_refused(given: list[str]) -> None:
    with pytest.raises(UserError, match="--num_workers=2 with --strategy=cpu; need multiworker"):
        trainer_command(["--data=d", *given], 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to run"),
        (("--num_workers=0", "--", "--data=d"), "num_workers"),
        (("--data=d",), "Unknown command line flag 'data'"),
        (("--num_workers=2", "--", "--data=d", "--run_dir=r", "--recipee=demo"), "recipee"),
        (("--num_workers=2", "--", "--data=d", "--run_dir=r", "--recipe=dmeo"), "mean 'demo'"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    done = launch(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
