"""What a submission takes from a run's `run.json`, and what it adds to it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer.submission.errors import SubmissionError
from trainer.submission.file import write_atomically
from trainer.submission.ledger import Entry

FILE_NAME = "run.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a submission needs to know of the run that predicted it."""

    run_id: str
    val_accuracy: float | None
    """Of the weights that were kept, in [0, 1]; None for a run without a validation split."""
    classes: tuple[str, ...]


def load_run(run_dir: Path) -> Run:
    """The run of a local folder.

    Raises:
      SubmissionError: It holds no record, or a damaged one.
    """
    document = read_run(run_dir)
    try:
        return Run(
            run_id=document["run_id"],
            val_accuracy=_val_accuracy(document),
            classes=tuple(document["data"]["classes"]),
        )
    except (KeyError, TypeError) as error:
        raise SubmissionError(
            f"{run_dir / FILE_NAME} lacks {error}; the record of a training run is needed; check "
            "--run_dir or leave it out"
        ) from None


def _val_accuracy(document: dict[str, Any]) -> float | None:
    if "soup" in document:  # An average of runs has no epochs of its own.
        of_soup: float | None = document["soup"].get("val_accuracy")
        return of_soup
    kept = [epoch for epoch in document.get("history", []) if epoch["is_best"]]
    return kept[-1]["val_accuracy"] if kept else None


def read_run(run_dir: Path) -> dict[str, Any]:
    """The run's record as it is.

    Raises:
      SubmissionError: There is none, or it is damaged.
    """
    if run_dir.parts[:1] == ("gs:",):
        raise SubmissionError(
            f"--run_dir={run_dir} is a bucket; a local folder is needed to write the score into; "
            "copy the run's run.json into one, or leave --run_dir out"
        )
    path = run_dir / FILE_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SubmissionError(
            f"{path} is not there; the folder of a run is needed; check --run_dir or leave it out"
        ) from None
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        raise SubmissionError(
            f"{path} is no JSON object; the record of a run is needed; check --run_dir"
        )
    return document


def pending_submission(run_dir: Path, competition: str, sha256: str | None = None) -> Entry | None:
    """The newest submission of the run that still waits for its score, of any file or of one.

    Raises:
      SubmissionError: There is no record, or its entry is damaged.
    """
    waiting = [
        item
        for item in read_run(run_dir).get("submissions", [])
        if (item["competition"], item["status"]) == (competition, "pending")
        and sha256 in (None, item.get("sha256"))
    ]
    if not waiting:
        return None
    try:
        return Entry(**waiting[-1], run_dir=str(run_dir.resolve()))
    except TypeError as error:
        raise SubmissionError(
            f"submission {waiting[-1].get('ref')} in {run_dir / FILE_NAME} cannot be read "
            f"({error}); an entry that trainer.submit wrote is needed; take it out to hand in anew"
        ) from None


def write_submission_of_run(run_dir: Path, entry: Entry) -> None:
    """Adds the entry to `submissions` of the run's record, in place of an older one of that number.

    The record is read again and replaced as a whole: nothing else in it changes.
    """
    document = read_run(run_dir)
    submissions = [item for item in document.get("submissions", []) if item["ref"] != entry.ref]
    submissions.append({key: value for key, value in asdict(entry).items() if key != "run_dir"})
    document["submissions"] = submissions
    write_atomically(run_dir / FILE_NAME, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
