"""Two trainers as one run: the same as one, whatever happens to them on the way."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.processes import free_ports, worker_environments
from launch.supervisor import restarts
from tests.trainer.making import build_cars
from tests.trainer.test_task import TINY_RUN, losses, run, same_model

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]


PATIENT = (
    "--set=stages.shapes.train_from=head",
    "--set=stages.shapes.cache_feature_views=2",
    "--set=stages.shapes.epochs=6",
    "--set=stages.shapes.plateau_patience=1",
    "--set=stages.shapes.early_stopping_patience=2",
    "--set=stages.finish.epochs=1",
)
"""A head on kept features that ends by patience, its rate lowered before."""


def two(data: str, run_dir: Path, *arguments: str, trainer: tuple[str, ...] = ()) -> list[str]:
    trainer = (f"--data={data}", f"--run_dir={run_dir}", *TINY_RUN, *trainer)
    launcher = (sys.executable, "-m", "launch.local", "--num_workers=2")
    return [*launcher, *arguments, "--", *trainer]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_cars(tmp_path_factory.mktemp("two") / "data"))


@pytest.fixture(scope="module")
def undisturbed(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes from start to end."""
    run_dir = tmp_path_factory.mktemp("two") / "run"
    done = subprocess.run(
        two(data, run_dir), cwd=REPOSITORY, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[worker 0] MultiWorkerMirroredStrategy: 2 replicas in 2 processes" in done.stdout
    assert "[worker 1]" not in done.stdout + done.stderr, "only the chief speaks"
    return run_dir


def disturbed(data: str, run_dir: Path, after_line: str, disturb: "Disturbance") -> tuple[int, str]:
    """Starts two processes, disturbs them after a line of output; returns (exit code, output)."""
    with subprocess.Popen(
        two(data, run_dir),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if after_line in line:
                disturb(process)
                after_line = "\0"
        return process.wait(timeout=60), "".join(lines)


class Disturbance:
    """Sends a signal to the launcher, or to one of its workers."""

    def __init__(self, number: signal.Signals, worker: int | None = None):
        self._number = number
        self._worker = worker

    def __call__(self, launcher: subprocess.Popen[str]) -> None:
        pid = launcher.pid if self._worker is None else workers_of(launcher.pid)[self._worker]
        os.kill(pid, self._number)


def workers_of(pid: int) -> list[int]:
    """Process ids of the workers, in the order of their numbers."""

    def children() -> Iterator[tuple[int, int]]:
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
                if parent == pid:
                    variables = (stat.parent / "environ").read_text()
                    index = re.search(r'"index": (\d+)', variables)
                    assert index is not None
                    yield int(index[1]), int(stat.parent.name)
            except FileNotFoundError:
                continue

    return [child for _, child in sorted(children())]


def test_two_processes_train_like_one(undisturbed: Path, data: str, tmp_path: Path) -> None:
    run(
        "trainer.task",
        f"--data={data}",
        f"--run_dir={tmp_path / 'run'}",
        "--strategy=cpu",
        *TINY_RUN,
    )
    assert json.loads((undisturbed / "run.json").read_text())["finished"]
    for ours, expected in zip(losses(undisturbed), losses(tmp_path / "run"), strict=True):
        assert ours[:2] == expected[:2]
        for value, wanted in zip(ours[2:], expected[2:], strict=True):
            assert value is None if wanted is None else value == pytest.approx(wanted, rel=2e-3)


def test_a_run_stopped_and_with_a_worker_killed_ends_with_the_same_weights(
    undisturbed: Path, data: str, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    stop = Disturbance(signal.SIGTERM)
    code, output = disturbed(data, run_dir, "[shapes 1/2]", stop)
    assert code == 75, output
    assert "error: stopped by SIGTERM in stage" in output
    assert output.count("the checkpoint is written") == 1

    kill = Disturbance(signal.SIGKILL, worker=1)
    code, output = disturbed(data, run_dir, "[finish 0/2]", kill)
    assert code == 0, output
    assert "worker 1 was killed by SIGKILL; starting again" in output
    assert json.loads((run_dir / "run.json").read_text())["num_starts"] == 3
    assert losses(run_dir) == losses(undisturbed)
    assert same_model(run_dir, undisturbed)


def decisions(run_dir: Path) -> list[tuple]:
    record = json.loads((run_dir / "run.json").read_text())
    return [
        (epoch["stage"], epoch["epoch"], epoch["step"], epoch["learning_rate"], epoch["is_best"])
        for epoch in record["history"]
    ]


def test_patience_and_kept_features_are_the_same_on_two_processes(
    data: str, tmp_path: Path
) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    arguments = (f"--data={data}", f"--run_dir={alone}", "--strategy=cpu", *TINY_RUN, *PATIENT)
    run("trainer.task", *arguments)
    done = subprocess.run(
        two(data, together, trainer=PATIENT),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert decisions(together) == decisions(alone)
    head = [row for row in decisions(alone) if row[0] == "shapes"]
    assert len(head) < 6, "patience did not end the stage: the test shows nothing"
    assert len({row[3] for row in head}) > 1, "no plateau lowered the rate"


def test_an_exploded_loss_rolls_both_back_and_ends_both(data: str, tmp_path: Path) -> None:
    exploding = ("--set=stages.shapes.learning_rate=1e6", "--max_rollbacks=1")
    done = subprocess.run(
        two(data, tmp_path / "run", trainer=exploding),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stderr.count("error: the loss of stage 'shapes'") == 1
    assert "rolled back to step" in done.stderr
    assert len(list((tmp_path / "run" / "capsules").iterdir())) <= 2


def test_a_port_in_use_is_one_line_and_worth_another_start(data: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        ports = [taken.getsockname()[1], *free_ports(1)]
        (environment, _) = worker_environments(2, ports, num_cores=2)
        arguments = (f"--data={data}", f"--run_dir={tmp_path / 'run'}", "--recipe=demo")
        done = subprocess.run(
            [sys.executable, "-m", "trainer.task", "--strategy=multiworker", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert restarts(done.returncode, restarts_stopped=False)
    assert "error: this worker cannot listen at its address" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_stopped_worker_stops_both_at_the_same_step(data: str, tmp_path: Path) -> None:
    stop = Disturbance(signal.SIGTERM, worker=1)
    code, output = disturbed(data, tmp_path / "run", "[shapes 1/2]", stop)
    assert code == 75, output
    steps = re.findall(r"stopped by (\S+).* after step (\d+)", output)
    assert sorted(reason for reason, _ in steps) == ["SIGTERM", "another"]
    assert len({step for _, step in steps}) == 1
