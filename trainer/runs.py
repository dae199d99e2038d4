r"""Runs below a folder, local or gs://: a table of them, what differs, what may be deleted.

    python -m trainer.runs list ROOT [--sort=accuracy]
    python -m trainer.runs compare RUN RUN2
    python -m trainer.runs clean ROOT [--stage_weights] [--yes]

`clean` only says what it would delete, unless --yes is given. See docs/report.md.
"""

import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from absl import flags

from tfrecords_builder import command_line, storage
from trainer.errors import RunFolderError
from trainer.report.durations import describe_seconds
from trainer.report.page_facts import ledger, stage_facts, status_of
from trainer.run_record import FILE_NAME, MODEL_FILE, SCHEMA_VERSION, differing_values

_VERBS = ("list", "compare", "clean")
_SORTS = ("name", "accuracy", "time")


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
        scored = [
            stage.accuracy for stage in stage_facts(self.record) if stage.accuracy is not None
        ]
        return scored[-1] if scored else None

    @property
    def seconds(self) -> float:
        """All of the time ledger."""
        return sum(ledger(self.record).values())


def define_flags() -> None:
    """Defines this command's flags; not at import, so that two commands can be imported."""
    flags.DEFINE_enum("sort", "name", _SORTS, "list: by what; the best or longest first.")
    flags.DEFINE_bool("yes", False, "clean: delete.")
    flags.DEFINE_bool(
        "stage_weights", False, "clean: also the best weights of each stage; the model stays."
    )


def main(arguments: Sequence[str]) -> None:
    """Carries out one verb.

    Raises:
        RunFolderError: no such verb, or folders that hold no run.
    """
    verb, *folders = arguments or ("",)
    wanted = 2 if verb == "compare" else 1
    if verb not in _VERBS or len(folders) != wanted:
        raise RunFolderError(
            f"got {' '.join(arguments) or 'no verb'!r}; need list ROOT, compare RUN RUN2 or clean "
            "ROOT; for example: python -m trainer.runs list runs"
        )
    if verb == "compare":
        print(compare_text(*(_load_one(folder) for folder in folders)))
        return
    runs = find_runs(folders[0])
    if verb == "list":
        print(list_text(runs, folders[0], flags.FLAGS.sort))
    else:
        _clean(runs, flags.FLAGS.stage_weights, flags.FLAGS.yes)


def find_runs(root: str) -> tuple[StoredRun, ...]:
    """All runs in a folder and below it, by path; what is no record of ours is passed over.

    Raises:
        RunFolderError: there is none.
    """
    tree = dict(storage.list_tree(root))
    runs = []
    for name in sorted(tree):
        if posixpath.basename(name) != FILE_NAME:
            continue
        below = posixpath.dirname(name)
        record = _read_record(storage.join(root, name))
        if record is not None:
            prefix = f"{below}/" if below else ""
            runs.append(
                StoredRun(
                    path=storage.join(root, *below.split("/")) if below else root,
                    record=record,
                    files={
                        file.removeprefix(prefix): size
                        for file, size in tree.items()
                        if file.startswith(prefix)
                    },
                )
            )
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
        if file.endswith(".part"):
            reasons[file] = "was never finished"
        elif folder == "checkpoints":
            reasons[file] = "the run is finished"
        elif folder == "weights" and name not in best:
            reasons[file] = "not the best of its stage"
        elif folder == "weights" and stage_weights:
            reasons[file] = "best of a stage; the model stays"
    return reasons


def list_text(runs: Sequence[StoredRun], root: str, sort: str = "name") -> str:
    """The table of `list`."""
    keys = {
        "name": lambda run: run.path,
        "accuracy": lambda run: -(run.accuracy if run.accuracy is not None else -1),
        "time": lambda run: -run.seconds,
    }
    header = ("run", "recipe", "data", "accuracy", "time", "starts", "size", "status")
    rows = [
        (
            run.path.removeprefix(root).strip("/") or run.path,
            run.record["settings"]["recipe"]["name"],
            run.record["data"]["name"],
            _score(run.accuracy),
            describe_seconds(run.seconds),
            str(run.record["num_starts"]),
            _size(sum(run.files.values())),
            status_of(run.record),
        )
        for run in sorted(runs, key=keys[sort])
    ]
    return _table([header, *rows])


def compare_text(left: StoredRun, right: StoredRun) -> str:
    """What `compare` prints: scores by stage, then every setting that differs."""
    rows = [("", left.path, right.path)]
    rows += [
        ("status", status_of(left.record), status_of(right.record)),
        ("validation accuracy", _score(left.accuracy), _score(right.accuracy)),
        ("time", describe_seconds(left.seconds), describe_seconds(right.seconds)),
        ("starts", str(left.record["num_starts"]), str(right.record["num_starts"])),
    ]
    stages = [{stage.name: stage for stage in stage_facts(run.record)} for run in (left, right)]
    for name in dict.fromkeys([*stages[0], *stages[1]]):
        scores = [part[name].accuracy if name in part else None for part in stages]
        rows.append((f"after {name}", _score(scores[0]), _score(scores[1])))
    for name in sorted(_evaluations(left) & _evaluations(right)):
        both = [json.loads(storage.read_bytes(storage.join(r.path, name))) for r in (left, right)]
        label = name.removesuffix(".json").replace("-", " ", 1)
        rows.append((label, _score(both[0]["top_1"]), _score(both[1]["top_1"])))
    differing = [
        (path.removeprefix("settings."), str(first), str(second))
        for path, first, second in differing_values(_comparable(left), _comparable(right))
    ]
    text = _table(rows)
    if not differing:
        return f"{text}\n\nsettings, versions, devices and data are the same"
    return f"{text}\n\n{_table([('differs', 'first', 'second'), *differing])}"


def _clean(runs: Sequence[StoredRun], stage_weights: bool, really: bool) -> None:
    num_files = num_bytes = 0
    for run in runs:
        if not run.record["finished"]:
            print(f"{run.path}: not finished, left alone")
        for file, reason in deletable(run, stage_weights).items():
            path = storage.join(run.path, *file.split("/"))
            if really:
                storage.remove(path)
            print(f"{'deleted' if really else 'would delete'} {path}  {reason}")
            num_files += 1
            num_bytes += run.files[file]
    done = "deleted" if really else "would delete"
    again = "" if really or not num_files else "; delete with --yes"
    print(f"{done} {num_files} files, {_size(num_bytes)}{again}")


def _load_one(folder: str) -> StoredRun:
    runs = [run for run in find_runs(folder) if FILE_NAME in run.files and run.path == folder]
    if not runs:
        raise RunFolderError(
            f"{folder!r} itself holds no {FILE_NAME}; need the folder of one run; see them with: "
            f"python -m trainer.runs list {folder}"
        )
    return runs[0]


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


def _evaluations(run: StoredRun) -> set[str]:
    return {name for name in run.files if name.startswith("evaluation-") and name.endswith(".json")}


def _comparable(run: StoredRun) -> dict[str, Any]:
    names = ("settings", "versions", "devices")
    return {name: run.record[name] for name in names}


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _size(num_bytes: int) -> str:
    if num_bytes < 1e6:
        return f"{num_bytes / 1e3:.0f} kB"
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:.1f} GB"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


if __name__ == "__main__":
    define_flags()
    command_line.run_with_arguments(main)
