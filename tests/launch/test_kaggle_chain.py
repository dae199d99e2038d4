"""A run of raw photos in several sessions, each on a fresh machine, against the same run in one."""

import csv
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from launch.kaggle_chain import chain
from launch.kaggle_client import Kernels
from launch.kaggle_datasets import Datasets
from launch.kaggle_push import push
from launch.kaggle_request import PushRequest
from tests.kaggle_machines import Session
from tests.kaggle_server import KaggleServer, redirected_client, sign_in
from tests.launch.kaggle_machine import make_machine, run_session
from tests.trainer.test_task import losses, same_model
from tfrecords_builder.sources.synthetic import SyntheticSource
from trainer.submission.connection import Connection

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("packed_once")]

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


def write_competition(folder: Path) -> Path:
    """Writes rendered photos and their tables as a competition gives them; returns the folder."""
    source = SyntheticSource(num_images=60, image_px=64)
    tables: dict[str, list[tuple[str, str]]] = {"train.csv": [], "sample-submission.csv": []}
    for photo in source.list_photos().photos:
        name, label = photo.id, photo.class_name
        place = folder / (f"train/{label}" if label else "test_upload")
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(source.read(photo))
        tables["train.csv" if label else "sample-submission.csv"].append((name, label or "0"))
    for name, rows in tables.items():
        with open(folder / name, "w", newline="") as file:
            csv.writer(file).writerows([("Id", "Category"), *rows])
    return folder


def pack_folder(folder: Path) -> None:
    """Puts the photos of a folder into FOLDER.zip, as competitions of old have them."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(folder.rglob("*.jpg")):
            archive.write(path, path.relative_to(folder.parent))
            path.unlink()


class Kaggle:
    """Starts what was pushed while the user waits, each session on a machine of its own."""

    def __init__(self, folder: Path, server: KaggleServer) -> None:
        self._folder, self._server = folder, server
        self._queue: list[Session] = []
        server.machines.on_start = self._enqueue

    def _enqueue(self, session: Session) -> None:
        session.statuses = ["RUNNING"]
        self._queue.append(session)

    def sleep(self, _: float) -> None:
        """Instead of waiting: runs the session that is waited for."""
        while self._queue:
            session = self._queue.pop()
            machine = make_machine(self.machine(session.number), Path(sys.executable))
            if session.number < 3:
                (machine.fakes / "sitecustomize.py").write_text(CLOCK)
            cars = write_competition(machine.root / "input" / "cars")
            if session.number > 1:  # once photos in folders, then in archives
                pack_folder(cars / "train")
                pack_folder(cars / "test_upload")
            for name in session.request.get("datasetDataSources", ()):
                machine.attach(name, self._server.machines.datasets[name])
            run_session(machine, session)

    def machine(self, number: int) -> Path:
        """The folder of the machine of a session."""
        return self._folder / f"machine-{number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Chained:
    """A run that was chained to its end."""

    exit_code: int
    run_dir: Path
    sessions: list[Session]
    records: list[Path]
    """Those that each session built."""


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory, packed_once: None) -> Iterator[Chained]:
    """Pushed with the photos of a competition, and chained, through the real client."""
    folder = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        sign_in(patch, folder / "home")
        patch.setattr("tempfile.tempdir", str(folder))  # the client keeps uploads there
        with KaggleServer() as server, redirected_client(server):
            stand_in = Kaggle(folder, server)
            connection = Connection("train-b5", sleep=stand_in.sleep, report=lambda _: None)
            kernels, datasets = Kernels(connection), Datasets(connection)
            request = PushRequest(
                run_dir=folder / "b5",
                name="train-b5",
                recipe="demo",
                accelerator="cpu",
                deadline="1h",
                competitions=("cars",),
                trainer_flags=TRAINER_FLAGS,
            )
            push(request, kernels, datasets)
            exit_code = chain(request.run_dir, kernels, datasets, max_sessions=4)
            sessions = server.machines.kernels["driver/train-b5"]
            machines = [stand_in.machine(session.number) for session in sessions]
            yield Chained(
                exit_code=exit_code,
                run_dir=request.run_dir,
                sessions=sessions,
                records=[path / "kaggle/temp/staged-trainer/records" for path in machines],
            )


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run in one go, by the commands that a user would type."""
    folder = tmp_path_factory.mktemp("one")
    cars = write_competition(folder / "cars")
    tables = f"--labels={cars}/train.csv", f"--sample_submission={cars}/sample-submission.csv"
    photos = f"--images={cars}/train", f"--test_images={cars}/test_upload"
    trainer = "trainer.task", "--recipe=demo", "--strategy=cpu"
    records, run_dir = folder / "records", folder / "run"
    for command in (
        ["tfrecords_builder", "--source=csv", *photos, *tables, f"--out={records}"],
        [*trainer, f"--data={records}", f"--run_dir={run_dir}", *TRAINER_FLAGS],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return run_dir


def test_every_session_builds_the_same_records_of_the_raw_photos(
    chained: Chained, one_run: Path
) -> None:
    wanted = shards(one_run.parent / "records")
    assert [shards(records) for records in chained.records] == [wanted] * 3, log(chained)


def test_session_leaves_its_run_and_the_checksum_of_every_file(chained: Chained) -> None:
    outputs = chained.sessions[-1].outputs
    record = json.loads(outputs["session.json"])
    run = {name.removeprefix("run/"): outputs[name] for name in outputs if "run/" in name}
    assert (record["session"], record["exit_code"]) == (3, 0), log(chained)
    assert record["files"] == {name: sha256(run[name]).hexdigest() for name in run}
    assert {"run.json", "model.safetensors"} <= set(run)


def test_three_sessions_end_with_the_weights_of_one_long_run(
    chained: Chained, one_run: Path
) -> None:
    assert (chained.exit_code, len(chained.sessions)) == (0, 3), log(chained)
    assert losses(chained.run_dir) == losses(one_run)
    assert same_model(chained.run_dir, one_run)


def shards(records: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in records.glob("*.tfrecord*")}


def log(chained: Chained) -> str:
    return "\n".join(line for session in chained.sessions for line in session.lines)
