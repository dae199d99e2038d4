"""From a submission that Kaggle has to its score: wait, write down."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from trainer.submission.board import Board, Row, Status
from trainer.submission.connection import Connection
from trainer.submission.errors import KaggleUnavailable, SubmissionError
from trainer.submission.ledger import Entry, Ledger
from trainer.submission.run_record import pending_submission, write_submission_of_run

MAX_POLL_SECS = 60.0
SCORE_TIMEOUT_SECS = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """What Kaggle says; scores are None where the competition does not show them."""

    ref: int
    public_score: float | None
    private_score: float | None


def collect_score(
    run_dir: Path,
    connection: Connection,
    ledger: Ledger,
    *,
    score_timeout_secs: float = SCORE_TIMEOUT_SECS,
    clock: Callable[[], float] = time.monotonic,
) -> Score | None:
    """Waits for the score of the submission that a run's record names as pending.

    Needs neither the file nor the ledger of the machine that handed it in.

    Returns:
      The score; None where nothing of the connection's competition is pending.

    Raises:
      SubmissionError: Kaggle could not score it.
      KaggleUnavailable: Kaggle cannot be reached, or the score did not come in time.
    """
    entry = pending_submission(run_dir, connection.competition)
    if entry is None:
        return None
    connection.report(f"handed in before as {entry.ref}; going on to wait for its score")
    return await_score(
        entry, Board(connection), run_dir, ledger, timeout_secs=score_timeout_secs, clock=clock
    )


def await_score(
    entry: Entry,
    board: Board,
    run_dir: Path | None,
    ledger: Ledger,
    *,
    timeout_secs: float,
    clock: Callable[[], float],
) -> Score:
    """Waits for the score of a submission and writes it into the ledger and the run's record.

    Raises:
      SubmissionError: Kaggle could not score it.
      KaggleUnavailable: The score did not come in time.
    """
    row = _wait(board, entry.ref, timeout_secs, clock)
    write_down(scored(entry, row), run_dir, ledger)
    if row.status is Status.ERROR:
        raise SubmissionError(
            f"Kaggle could not score submission {row.ref} ({row.error or 'no reason given'}); a "
            "file in the form of the sample submission is needed; compare the two, or give "
            "--sample_submission to have them compared"
        )
    return Score(ref=row.ref, public_score=row.public_score, private_score=row.private_score)


def scored(entry: Entry, row: Row) -> Entry:
    """The entry with what the list says of it now."""
    return replace(
        entry,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        status=row.status.value,
        public_score=row.public_score,
        private_score=row.private_score,
        error=row.error,
    )


def write_down(entry: Entry, run_dir: Path | None, ledger: Ledger) -> None:
    """Adds the entry to the ledger and, with a run, to its record."""
    ledger.append(entry)
    if run_dir is not None:
        write_submission_of_run(run_dir, entry)


def _wait(board: Board, ref: int, timeout_secs: float, clock: Callable[[], float]) -> Row:
    """Polls the list, ever more rarely, until Kaggle has scored the file or given up on it."""
    connection = board.connection
    start, delay = clock(), 2.0
    while True:
        try:
            row = board.row(ref)
            state = row.status.value if row else "not in the list yet"
        except KaggleUnavailable as error:
            # The file is handed in: a bad spell of the list is no reason to stop waiting.
            row, state = None, str(error)
        if row is not None and row.status is not Status.PENDING:
            return row
        waited = clock() - start
        if waited + delay > timeout_secs:
            raise KaggleUnavailable(
                f"submission {ref} has no score after {waited:.0f} s (last state: {state}); it is "
                "handed in and counted; start the same command again to go on waiting"
            )
        connection.report(f"waiting for the score of {ref}: {waited:.0f} s, {state}")
        connection.sleep(delay)
        delay = min(delay * 1.5, MAX_POLL_SECS)
