"""A run in several sessions, each on a fresh machine, against the same run in one."""

import subprocess
import sys
from pathlib import Path

import pytest

from launch.kaggle_chain import chain
from launch.kaggle_client import Kernels
from launch.kaggle_datasets import Datasets
from launch.kaggle_push import PushRequest, push
from tests.kaggle_machines import Dataset, Session
from tests.kaggle_server import KaggleServer
from tests.launch.kaggle_machine import make_machine, run_session
from tests.trainer.making import build_cars
from tests.trainer.test_task import losses, same_model
from trainer.submission.connection import Connection

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
TRAINER_FLAGS = (
    "--checkpoint_every=0s",
    "--set=stages.*.image_px=32",
    "--set=stages.*.batch_size=12",
    "--set=stages.*.batch_norm=frozen",
    "--set=stages.shapes.epochs=2",
    "--set=stages.finish.epochs=1",
)

# The clock of the first two machines, as the trainer's deadline sees it: ten hours pass when the
# session has written its first checkpoint. How fast the machine really is decides nothing.
CLOCK = """
import os, sys, time
_real = time.monotonic
_here = os.path.dirname(os.path.abspath(__file__))
_folder = os.path.join(_here, "../kaggle/working/run/checkpoints")
def _written():
    names = os.listdir(_folder) if os.path.isdir(_folder) else []
    return {name for name in names if name.endswith(".safetensors")}
_before = _written()
def monotonic():
    late = sys._getframe(1).f_globals.get("__name__") == "trainer.engine.stop"
    return _real() + (36_000 if late and _written() - _before else 0)
time.monotonic = monotonic
"""


class Kaggle:
    """Starts what was pushed while the user waits, each session on a machine of its own."""

    def __init__(self, folder: Path, server: KaggleServer, records: Path) -> None:
        self._folder, self._server, self._records = folder, server, records
        self._queue: list[Session] = []
        server.machines.on_start = self._enqueue
        server.machines.datasets["driver/cars-records"] = Dataset(files={}, description="")

    def _enqueue(self, session: Session) -> None:
        session.statuses = ["RUNNING"]
        self._queue.append(session)

    def sleep(self, _: float) -> None:
        """Instead of waiting: runs the session that is waited for."""
        while self._queue:
            session = self._queue.pop()
            folder = self._folder / f"machine-{session.number}"
            machine = make_machine(folder, python=sys.executable)
            if session.number < 3:
                (machine.fakes / "sitecustomize.py").write_text(CLOCK)
            for name in session.request.get("datasetDataSources", ()):
                attached = self._server.machines.datasets[name]
                machine.attach(name, attached if attached.files else self._records)
            run_session(machine, session)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_cars(tmp_path_factory.mktemp("chain") / "records")


@pytest.fixture(scope="module")
def one_run(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("chain") / "run"
    command = [sys.executable, "-m", "trainer.task", f"--data={records}", f"--run_dir={run_dir}"]
    done = subprocess.run(
        [*command, "--recipe=demo", "--strategy=cpu", *TRAINER_FLAGS],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return run_dir


def test_three_sessions_end_with_the_weights_of_one_long_run(
    kaggle: KaggleServer,
    connection: Connection,
    kernels: Kernels,
    datasets: Datasets,
    records: Path,
    one_run: Path,
    tmp_path: Path,
    lines: list[str],
) -> None:
    stand_in = Kaggle(tmp_path, kaggle, records)
    connection.sleep = stand_in.sleep
    run_dir = tmp_path / "b5"
    request = PushRequest(
        run_dir=run_dir,
        name="train-b5",
        recipe="demo",
        accelerator="cpu",
        deadline="1h",
        datasets=("driver/cars-records",),
        trainer_flags=TRAINER_FLAGS,
    )
    push(request, kernels, datasets)
    assert chain(run_dir, kernels, datasets, max_sessions=4) == 0, lines
    sessions = kaggle.machines.kernels["driver/train-b5"]
    assert len(sessions) == 3, sessions[-1].lines
    assert losses(run_dir) == losses(one_run)
    assert same_model(run_dir, one_run)
