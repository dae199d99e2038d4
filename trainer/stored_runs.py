"""Run folders, local or gs://: their records, their files, and which of these may go."""

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfrecords_builder import storage
from trainer.errors import RunFolderError
from trainer.report.page_facts import ledger, stage_facts
from trainer.run_record import FILE_NAME, MODEL_FILE, SCHEMA_VERSION
from trainer.whole_files import UNFINISHED


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRun:
    """A run folder: its record and its files."""

    path: str
    record: Mapping[str, Any]
    files: Mapping[str, int]
    """Bytes by path below the folder."""

    @property
    def accuracy(self) -> float | None:
        """Validation accuracy of the weights that count: the best of the last scored stage."""
        if "soup" in self.record:
            accuracy: float | None = self.record["soup"].get("val_accuracy")
            return accuracy
        scored = [
            stage.accuracy for stage in stage_facts(self.record) if stage.accuracy is not None
        ]
        return scored[-1] if scored else None

    @property
    def seconds(self) -> float:
        """All of the time ledger."""
        return sum(ledger(self.record).values())


def find_runs(root: str) -> tuple[StoredRun, ...]:
    """All runs in a folder and below it, by path; what is no record of ours is passed over.

    A run may lie inside of another's folder: its files are its own alone. So are those beside a
    record that cannot be read, which may be of a run in work.

    Raises:
        RunFolderError: there is none.
    """
    runs = []
    for below, files in _files_by_folder(dict(storage.list_tree(root))).items():
        folder = storage.join(root, *below.split("/")) if below else root
        record = _read_record(storage.join(folder, FILE_NAME))
        if record is not None:
            runs.append(StoredRun(path=folder, record=record, files=files))
    if not runs:
        raise RunFolderError(
            f"{root!r} holds no run (no {FILE_NAME} in it or below it); need the --run_dir of a "
            "training, or a folder above several; start one with trainer.task"
        )
    return tuple(runs)


def deletable(run: StoredRun, stage_weights: bool = False) -> dict[str, str]:
    """File of a run -> why it may go. Nothing of an unfinished run: it may be in work.

    What stays: the model, the record, evaluations, exports, event files and, unless told
    otherwise, the best weights of each stage.
    """
    if not run.record["finished"] or MODEL_FILE not in run.files:
        return {}
    best = {_weights_name(run.record, stage.name, stage.best_epoch) for stage in _scored(run)}
    reasons = {}
    for file in sorted(run.files):
        folder, _, name = file.rpartition("/")
        if file.endswith(UNFINISHED):
            reasons[file] = "was never finished"
        elif folder == "checkpoints":
            reasons[file] = "the run is finished"
        elif folder == "weights" and name not in best:
            reasons[file] = "not the best of its stage"
        elif folder == "weights" and stage_weights:
            reasons[file] = "best of a stage; the model stays"
    return reasons


def load_one(folder: str) -> StoredRun:
    """The run of a folder, not of one below it.

    Raises:
        RunFolderError: there is none.
    """
    runs = [run for run in find_runs(folder) if FILE_NAME in run.files and run.path == folder]
    if not runs:
        raise RunFolderError(
            f"{folder!r} itself holds no {FILE_NAME}; need the folder of one run; see them with: "
            f"python -m trainer.runs list {folder}"
        )
    return runs[0]


def _files_by_folder(tree: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Folders with a `run.json`, sorted; each file goes to the innermost one that it lies in."""
    names = sorted(tree)
    folders: dict[str, dict[str, int]] = {
        name.rpartition("/")[0]: {} for name in names if posixpath.basename(name) == FILE_NAME
    }
    for name in names:
        folder = name.rpartition("/")[0]
        while folder not in folders and folder:
            folder = folder.rpartition("/")[0]
        if folder in folders:
            folders[folder][name.removeprefix(f"{folder}/" if folder else "")] = tree[name]
    return folders


def _read_record(path: str) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(storage.read_bytes(path))
    except ValueError:
        return None
    if not isinstance(record, dict) or record.get("schema_version") != SCHEMA_VERSION:
        return None
    return record


def _scored(run: StoredRun) -> list[Any]:
    return [stage for stage in stage_facts(run.record) if stage.best_epoch is not None]


def _weights_name(record: Mapping[str, Any], stage: str, epoch: int) -> str:
    names = [each["name"] for each in record["settings"]["recipe"]["stages"]]
    return f"{names.index(stage):02d}-{stage}-epoch{epoch:03d}.safetensors"
