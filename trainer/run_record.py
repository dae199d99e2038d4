"""`run.json`: one file that tells a run apart from every other, rewritten after each epoch."""

import dataclasses
import json
import math
import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from tfrecords_builder.manifest import Manifest
from trainer.errors import RunFolderError
from trainer.progress import Progress, total_seconds
from trainer.recipe import Recipe, Stage
from trainer.whole_files import write_whole, writing

FILE_NAME = "run.json"
SCHEMA_VERSION = 1
MODEL_FILE = "model.safetensors"
_PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-tpu",
    "keras",
    "numpy",
    "pillow",
    "staged-trainer",
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """What decides the outcome of a run; a resume must bring the same."""

    recipe: Recipe
    seed: int
    batch_scaling: str
    data_fingerprint: str
    rate_scaling: str = "linear"
    num_replicas: int = 1
    """Decides something only with a batch per replica; a global batch is the same on any number."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        per_replica = self.batch_scaling == "per_replica"
        return {
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "batch_scaling": self.batch_scaling,
            "rate_scaling": self.rate_scaling,
            "data_fingerprint": self.data_fingerprint,
            **({"num_replicas": self.num_replicas} if per_replica else {}),
        }

    def differences(self, stored: Mapping[str, Any]) -> list[str]:
        """`path: stored -> ours` for every value that differs from a stored `to_json`."""
        ours = json.loads(json.dumps(self.to_json()))
        # Records of before there was a choice were all of the kind that is the default now; how
        # many replicas there were was not written down.
        stored = {"rate_scaling": "linear", **stored}
        if "num_replicas" not in stored and stored["batch_scaling"] == self.batch_scaling:
            ours.pop("num_replicas", None)
        return [
            f"{path}: {before} -> {after}" for path, before, after in differing_values(stored, ours)
        ]


def make_run_record(
    settings: RunSettings, manifest: Manifest, data_dir: str, strategy: str, num_replicas: int
) -> dict[str, Any]:
    """The record at the start of a run."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": f"{settings.recipe.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}",
        "command": command_line_of_process(),
        "settings": settings.to_json(),
        "data": {
            "dir": data_dir,
            "name": manifest.name,
            "classes": list(manifest.classes),
            "splits": {name: split.num_examples for name, split in manifest.splits.items()},
        },
        "devices": {"strategy": strategy, "num_replicas": num_replicas},
        "versions": installed_versions(),
        "num_starts": 0,
        "finished": False,
    }


def with_progress(record: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The record with what the run has reached."""
    return {
        **record,
        "history": [dataclasses.asdict(epoch) for epoch in progress.history],
        "seconds": progress.seconds,
        "seconds_total": total_seconds(progress.seconds),
    }


def recipe_from_json(fields: Mapping[str, Any]) -> Recipe:
    """The recipe that `Recipe.to_json` wrote."""
    from trainer.augment.config import Augmentation

    stages = tuple(
        Stage(**{**stage, "augmentation": Augmentation(**stage["augmentation"])})
        for stage in fields["stages"]
    )
    return Recipe(**{**fields, "stages": stages})


def load_run_record(run_dir: str) -> dict[str, Any]:
    """Reads `run.json`.

    Raises:
        RunFolderError: there is none, or it is not ours.
    """
    import tensorflow as tf

    path = os.path.join(run_dir, FILE_NAME)
    if not tf.io.gfile.exists(path):
        raise RunFolderError(
            f"{run_dir!r} holds no {FILE_NAME}; need the --run_dir of a training run; start one "
            "with trainer.task"
        )
    with tf.io.gfile.GFile(path) as file:
        record: dict[str, Any] = json.loads(file.read())
    if record.get("schema_version") != SCHEMA_VERSION:
        raise RunFolderError(
            f"{path} has schema version {record.get('schema_version')}; this program reads "
            f"{SCHEMA_VERSION}; "
            "use the version of the program that wrote it"
        )
    return record


def write_run_record(run_dir: str, record: Mapping[str, Any]) -> None:
    """Writes `run.json` whole or not at all; numbers that are not finite become null.

    Raises:
        TrainingError: the disk is full, or may not be written to.
    """
    path = os.path.join(run_dir, FILE_NAME)
    with writing(path):
        write_whole(path, (_strict_json(record) + "\n").encode())


def _strict_json(record: Mapping[str, Any]) -> str:
    """JSON as others read it, too: Python alone knows Infinity and NaN."""

    def strict(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: strict(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [strict(entry) for entry in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(strict(record), indent=1, allow_nan=False)


def command_line_of_process() -> list[str]:
    """The file that was started, without its folder, and the arguments."""
    return [os.path.basename(sys.argv[0]), *sys.argv[1:]]


def installed_versions() -> dict[str, str]:
    """Of Python and the packages that decide numbers."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def differing_values(
    left: Mapping[str, Any], right: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
    """(path, value in left, value in right) of all that differs; "absent" where there is none."""
    ours, theirs = _flatten(dict(left)), _flatten(dict(right))
    return [
        (path, ours.get(path, "absent"), theirs.get(path, "absent"))
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path, "absent") != theirs.get(path, "absent")
    ]


def _flatten(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items = [(f"{path}.{key}" if path else key, entry) for key, entry in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict) and "name" in value[0]:
        items = [(f"{path}.{entry['name']}", entry) for entry in value]
    else:
        return {path: value}
    return {name: leaf for key, entry in items for name, leaf in _flatten(entry, key).items()}
