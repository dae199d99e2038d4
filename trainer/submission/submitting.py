"""From a checked file to a score: hand in once, wait, write down.

"Once" holds whatever breaks: the description carries the hash of the file, so a submission whose
answer was lost is found again in Kaggle's list before anything is tried a second time.
"""

import hashlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from trainer.submission.board import Board, Row, Status
from trainer.submission.connection import CallFailed, Connection
from trainer.submission.errors import KaggleUnavailable, SubmissionError
from trainer.submission.file import read_submission
from trainer.submission.guard import check_submission
from trainer.submission.ledger import Entry, Ledger
from trainer.submission.run_record import Run, load_run, pending_submission
from trainer.submission.scores import (
    SCORE_TIMEOUT_SECS,
    Score,
    await_score,
    scored,
    write_down,
)

MAX_DESCRIPTION_CHARS = 400
LIST_LAG_SECS = 10
"""How long a new submission may take to show in the list; an assumption on the safe side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionRequest:
    """What is handed in, and what is known about it."""

    competition: str
    file: Path
    message: str = ""
    run_dir: Path | None = None
    """Local folder of the run that predicted the file."""
    sample_submission: Path | None = None
    classes: Collection[str] | None = None
    """Labels that exist; None takes those of the run, and without a run leaves them unchecked."""


def describe(message: str, run: Run | None, sha256: str) -> str:
    """The description Kaggle keeps: message, run, validation accuracy, and the file's hash."""
    parts = [message]
    if run is not None:
        parts.append(f"run {run.run_id}")
        if run.val_accuracy is not None:
            parts.append(f"val {run.val_accuracy:.5f}")
    text = " | ".join(part for part in parts if part)
    tag = file_tag(sha256)
    return f"{text[: MAX_DESCRIPTION_CHARS - len(tag) - 3]} | {tag}" if text else tag


def file_tag(sha256: str) -> str:
    """What marks a file's submissions in the list: 16 hexadecimal digits of its hash."""
    return f"file {sha256[:16]}"


def hand_in(
    request: SubmissionRequest,
    connection: Connection,
    ledger: Ledger,
    *,
    dry_run: bool = False,
    score_timeout_secs: float = SCORE_TIMEOUT_SECS,
    clock: Callable[[], float] = time.monotonic,
) -> Score | None:
    """Checks the file, hands it in unless that has been done, waits for its score.

    The ledger and, with `run_dir`, the run's `run.json` are written when Kaggle has taken the file
    and again when the score is there. Called again after an interruption it goes on waiting.

    Returns:
      The score; None for a dry run.

    Raises:
      SubmissionError: The file must not or cannot be handed in, or Kaggle could not score it.
      KaggleUnavailable: Kaggle cannot be reached, or the score did not come in time.
    """
    submission = read_submission(request.file)
    sample = read_submission(request.sample_submission) if request.sample_submission else None
    run = load_run(request.run_dir) if request.run_dir is not None else None
    check_submission(submission, sample, request.classes or (run.classes if run else None))
    sha256 = hashlib.sha256(request.file.read_bytes()).hexdigest()
    board = Board(connection)
    report = connection.report
    with ledger.locked():
        entry = _earlier(request, sha256, board, ledger)
        if entry is None:
            tries = board.tries_left()
            if tries == 0:
                raise SubmissionError(
                    f"no tries are left today in {request.competition}; one is needed; start the "
                    "same command again after midnight UTC"
                )
            left = "unknown" if tries is None else str(tries)
            if dry_run:
                report(f"{request.file} would be handed in; tries left: {left}")
                return None
            description = describe(request.message, run, sha256)
            ref = _hand_in_once(board, request.file, description, sha256)
            report(f"handed in as {ref}: {description}; tries left before: {left}")
            entry = _pending(request, sha256, description, ref)
            write_down(entry, request.run_dir, ledger)
        elif dry_run:
            report(f"{request.file} was handed in before as {entry.ref} and waits for its score")
            return None
    return await_score(
        entry, board, request.run_dir, ledger, timeout_secs=score_timeout_secs, clock=clock
    )


def _earlier(request: SubmissionRequest, sha256: str, board: Board, ledger: Ledger) -> Entry | None:
    """The file's earlier submission if its score is still to be collected; None if there is none.

    Raises:
      SubmissionError: The file was handed in before and its story is over.
    """
    entry = None
    if request.run_dir is not None:
        # The run waits for it, whatever a ledger says: the score may be in another machine's, or
        # in this one's alone.
        entry = pending_submission(request.run_dir, request.competition, sha256)
    entry = entry or ledger.last(request.competition, sha256)
    if entry is None:
        row = _find(board.rows(), sha256)
        if row is None:
            return None
        # From another machine, or by a command that was killed before it wrote its ledger.
        entry = scored(_pending(request, sha256, row.description, row.ref), row)
        write_down(entry, request.run_dir, ledger)
    if entry.status == Status.PENDING.value:
        board.connection.report(f"handed in before as {entry.ref}; going on to wait for its score")
        return entry
    raise SubmissionError(
        f"{request.file} was handed in before as {entry.ref} (public score {entry.public_score}); "
        "a file that differs is needed; equal predictions would get an equal score"
    )


def _hand_in_once(board: Board, file: Path, description: str, sha256: str) -> int:
    num_failed = 0
    while True:
        try:
            return board.hand_in(file, description)
        except CallFailed as failed:
            num_failed += 1
            failure = failed.failure
        try:
            board.connection.wait_after(failure, num_failed, at_least_secs=LIST_LAG_SECS)
        except KaggleUnavailable:
            # The last try may have got through although its answer did not.
            if row := _find(board.rows(), sha256):
                return row.ref
            raise
        if row := _find(board.rows(), sha256):
            return row.ref


def _find(rows: list[Row], sha256: str) -> Row | None:
    tag = file_tag(sha256)
    return next((row for row in rows if tag in row.description), None)


def _pending(request: SubmissionRequest, sha256: str, description: str, ref: int) -> Entry:
    return Entry(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        competition=request.competition,
        sha256=sha256,
        file=str(request.file.resolve()),
        run_dir=str(request.run_dir.resolve()) if request.run_dir else None,
        message=description,
        ref=ref,
        status=Status.PENDING.value,
        public_score=None,
        private_score=None,
        error="",
    )
