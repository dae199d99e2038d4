"""What stands beside a reader who follows a guide: photos, records, runs, Kaggle, Vertex AI."""

import contextlib
import csv
import io
import os
import re
import shutil
import zipfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from tests.guides import REPOSITORY
from tests.kaggle_machines import Dataset, Session
from tests.kaggle_server import TOKEN, Competition, KaggleServer
from tests.launch import vertex_server
from tests.launch.test_kaggle_sessions import leave
from tests.launch.test_vertex import make_job
from tfrecords_builder.manifest import load_manifest
from tfrecords_builder.records import read_records

COMPETITION = "sf-dl-car-classification"
JOB = "projects/my-project/locations/us-central1/customJobs/123"
_TABLES = ("train", "train.csv", "test_upload", "sample-submission.csv")

THINGS = {
    "docs/index.md": {"demo/data": "data", "demo/run": "run", "demo/run/export": "run/export"},
    "README.md": {
        **{name: f"competition/{name}" for name in _TABLES},
        "FILE": "run/model.safetensors",
        "data/cars": "data",
        "data/mine": "data",
        "demo/data": "data",
        "new": "competition/test_upload",
        "photos": "photos",
        "runs/cars": "run",
        "runs/first": "run",
        "runs/first/export": "run/export",
    },
    "docs/builder.md": {"DATA": "data", "DIR": "photos"},
    "docs/competition.md": {
        "data/records": "data",
        "runs/b5": "run",
        "submission.csv": "submission.csv",
    },
    "docs/evaluation.md": {
        "DATA": "data",
        "DIR": "competition/test_upload",
        "FOLD0": "data",
        "FOLD1": "data",
        "RUN": "run",
        "RUN1": "run",
        "RUN2": "run",
    },
    "docs/export.md": {"DATA": "data", "RUN": "run"},
    "docs/gpu.md": {"data/cars": "data"},
    "docs/input.md": {"DATA": "data"},
    "docs/kaggle.md": {
        "data/cars-records": "data",
        "data/cars/sample-submission.csv": "submission.csv",
    },
    "docs/own_photos.md": {
        "demo/data": "data",
        "new": "competition/test_upload",
        "photos": "photos",
        "runs/second": "run",
    },
    "docs/planning.md": {"DATA": "data", "RUN": "run"},
    "docs/report.md": {
        "DATA": "data",
        "RUN": "run",
        "RUN2": "run",
        "demo/data": "data",
        "runs/first": "run",
        "runs/second": "run",
    },
    "docs/serving.md": {
        "car.jpg": "car.jpg",
        "model.tflite": "run/export/model-float16.tflite",
        "other.png": "other.png",
    },
    "docs/submission.md": {
        "DATA": "data",
        "RUN": "run",
        "data/cars/sample-submission.csv": "submission.csv",
        "labels.csv": "submission.csv",
        "runs/b5": "run",
        "sample-submission.csv": "submission.csv",
        "submission.csv": "submission.csv",
    },
    "docs/weights.md": {
        "DATA": "data",
        "DIR": "stanford",
        "FILE": "run/model.safetensors",
        "RUN1": "run",
        "RUN2": "run",
        "RUN3": "run",
        "efficientnetv2-b0_notop.h5": "run/model.safetensors",
    },
}
"""What stands under which name when a guide begins, unless its builder or download makes that.

The source is a path in the `World`. Commands on the same things are the same command."""


class World:
    """Everything that guides start from, made of the cars and the run of the first guide."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def furnish(self, first_guide: Path) -> None:
        """Makes it, from the folder in which the first guide was followed."""
        shutil.copytree(first_guide / "demo" / "data", self.root / "data")
        shutil.copytree(first_guide / "demo" / "run", self.root / "run")
        shutil.copy(first_guide / "demo" / "submission.csv", self.root)
        self._write_photos()
        self._write_stanford()

    def lay_out(self, guide: str, folder: Path, made: set[str]) -> None:
        """Copies what the guide starts from, but for the names that it makes itself."""
        if not self.root.exists():
            return  # the first guide makes all that it names
        for name, source in THINGS.get(guide, {}).items():
            if name not in made and not (folder / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                found = self.root / source
                (shutil.copytree if found.is_dir() else shutil.copy)(found, folder / name)

    def names_replaced(self, guide: str, words: list[str]) -> tuple[str, ...]:
        """The words of a command with what stands there instead of its name in this guide."""
        things = THINGS.get(guide, {})

        def replaced(word: str) -> str:
            flag, equals, value = word.rpartition("=")
            return flag + equals + ",".join(things.get(name, name) for name in value.split(","))

        return tuple(replaced(word) for word in words if not word.startswith("--out="))

    def _write_photos(self) -> None:
        """A folder of classes, and the files of a competition with the same photos."""
        manifest = load_manifest(self.root / "data")
        competition = self.root / "competition"
        labels = [["Id", "Category"]]
        for split, about in manifest.splits.items():
            for shard in about.shards:
                for record in read_records(self.root / "data" / shard.file):
                    if split == "test":
                        _write(competition / "test_upload" / record.id, record.image)
                        continue
                    name = manifest.classes[record.label]
                    _write(self.root / "photos" / name / record.id, record.image)
                    _write(competition / "train" / str(record.label) / record.id, record.image)
                    labels.append([record.id, str(record.label)])
        with open(competition / "train.csv", "w", newline="") as file:
            csv.writer(file).writerows(labels)
        shutil.copy(self.root / "submission.csv", competition / "sample-submission.csv")
        first, second = sorted((self.root / "photos").rglob("*.jpg"))[:2]
        shutil.copy(first, self.root / "car.jpg")
        with Image.open(second) as image:
            image.save(self.root / "other.png")

    def _write_stanford(self) -> None:
        """Photos and tables of Stanford Cars: four models of its own."""
        folder = self.root / "stanford"
        with open(REPOSITORY / "tfrecords_builder/sources/stanford_cars_groups.csv") as file:
            models = [row["class"] for row in csv.DictReader(file)][:40:10]
        names = np.array(models, dtype=object)
        fields = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
        (folder / "cars_train").mkdir(parents=True)
        photos = sorted((self.root / "photos").rglob("*.jpg"))
        rows = []
        for number, photo in enumerate(photos[:48]):
            shutil.copy(photo, folder / "cars_train" / f"{number:05}.jpg")
            with Image.open(photo) as image:
                box = (2, 2, image.width - 2, image.height - 2)
            rows.append((*box, number % len(models) + 1, f"{number:05}.jpg"))
        kinds = [(field, object) for field in fields]
        scipy.io.savemat(folder / "cars_meta.mat", {"class_names": names})
        scipy.io.savemat(
            folder / "cars_train_annos.mat", {"annotations": np.array(rows, dtype=kinds)}
        )

    def archive(self) -> bytes:
        """The competition's files as one zip archive."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for path in sorted((self.root / "competition").rglob("*")):
                archive.write(path, path.relative_to(self.root / "competition"))
        return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def reader_environment(home: Path) -> dict[str, str]:
    """Variables of a user without settings of their own; caches stay where they are."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("KAGGLE_")}
    return {
        **kept,
        "HOME": str(home),
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONWARNINGS": "",
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
    }


@contextlib.contextmanager
def kaggle_of(world: World, folder: Path) -> Iterator[dict[str, str]]:
    """Kaggle with the competition; yields the variables that lead the real client there.

    A session that is pushed has ended at once, with the finished run of the first guide.
    """
    (folder / ".client").mkdir()
    with KaggleServer() as server:
        (folder / ".client" / "sitecustomize.py").write_text(
            "from kagglesdk import kaggle_env as env\n"
            f"env._env_to_endpoint[env.KaggleEnv.PROD] = {server.url!r}\n"
        )
        with open(world.root / "submission.csv") as file:
            solution = {row["Id"]: row["Category"] for row in csv.DictReader(file)}
        server.competitions[COMPETITION] = Competition(solution=solution, archive=world.archive())
        server.machines.datasets["me/cars-records"] = Dataset(files={}, description="")
        run = world.root / "run"
        files = {str(path.relative_to(run)): path for path in run.rglob("*") if path.is_file()}

        def finish(session: Session) -> None:
            content = {at: path.read_bytes() for at, path in files.items()}
            name = session.request["slug"].partition("/")[2]
            number = re.search(r'"session": (\d+)', session.request["text"])
            leave(session, content, number=int(number[1]), name=name)

        server.machines.on_start = finish
        yield {
            "KAGGLE_API_TOKEN": TOKEN,
            "PYTHONPATH": os.pathsep.join([str(folder / ".client"), str(REPOSITORY)]),
        }


@contextlib.contextmanager
def vertex_of(folder: Path) -> Iterator[dict[str, str]]:
    """Vertex AI with the job that the guide names; yields the variables that lead there."""
    with vertex_server.serving() as server:
        server.states = deque(["JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"])
        server.jobs[JOB] = {**server.create(make_job().request()), "name": JOB}
        yield vertex_server.environment(server, folder)
