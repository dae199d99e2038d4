r"""Runs below a folder, local or gs://: a table of them, what differs, what may be deleted.

    python -m trainer.runs list ROOT [--sort=accuracy]
    python -m trainer.runs compare RUN RUN2
    python -m trainer.runs clean ROOT [--stage_weights] [--yes]

`clean` only says what it would delete, unless --yes is given. See docs/report.md.
"""

import json
from collections.abc import Sequence
from typing import Any

from absl import flags

from tfrecords_builder import command_line, storage
from trainer.errors import RunFolderError
from trainer.report.durations import describe_seconds
from trainer.report.page_facts import stage_facts, status_of
from trainer.run_record import differing_values
from trainer.stored_runs import StoredRun, deletable, find_runs, load_one

_VERBS = ("list", "compare", "clean")
_SORTS = ("name", "accuracy", "time")


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
        print(compare_text(*(load_one(folder) for folder in folders)))
        return
    runs = find_runs(folders[0])
    if verb == "list":
        print(list_text(runs, folders[0], flags.FLAGS.sort))
    else:
        _clean(runs, flags.FLAGS.stage_weights, flags.FLAGS.yes)


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
