"""A competition's submissions, as plain data: list, tries left, hand in."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from trainer.submission.connection import Connection, Unanswered

PAGE_SIZE = 100
MAX_PAGES = 100


class Status(Enum):
    """Where Kaggle is with a submission."""

    PENDING = "pending"
    COMPLETE = "complete"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One submission of the list."""

    ref: int
    """Kaggle's number of it, > 0."""
    status: Status
    description: str
    file_name: str
    date: str
    """ISO 8601, UTC; empty when unknown."""
    public_score: float | None
    private_score: float | None
    """None until the competition shows it."""
    error: str
    """Why Kaggle could not score it; empty otherwise."""


class Board:
    """The submissions of the connection's user in its competition."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def rows(self) -> list[Row]:
        """All submissions, newest first.

        Raises:
          SubmissionError: The list cannot be had.
        """
        rows: dict[int, Row] = {}
        for page in range(1, MAX_PAGES + 1):
            # A server may give shorter pages than asked for: only a page without news is the end.
            fresh = [row for row in self._page(page) if row.ref not in rows]
            if not fresh:
                break
            rows.update({row.ref: row for row in fresh})
        return list(rows.values())

    def row(self, ref: int) -> Row | None:
        """The submission of that number, if it is on the first page, where new ones are."""
        return next((row for row in self._page(1) if row.ref == ref), None)

    def tries_left(self) -> int | None:
        """How many submissions are allowed now; None when the account is in no team yet."""
        limits = self.connection.call(
            lambda api: api.competition_get_submission_limits(self.connection.competition)
        )
        if not (limits.num_today or limits.num_total or limits.num_allowed_now):
            return None
        return int(limits.num_allowed_now)

    def hand_in(self, path: Path, description: str) -> int:
        """Uploads the file and creates the submission, in one try; returns its number.

        Raises:
          CallFailed: It failed, or the answer was lost: the submission may exist all the same.
        """

        def submit(api: Any) -> int:
            competition = self.connection.competition
            answer = api.competition_submit(str(path), description, competition, quiet=True)
            if not answer.ref:
                raise Unanswered(answer.message)
            return int(answer.ref)

        return self.connection.attempt(submit)

    def _page(self, page: int) -> list[Row]:
        def query(api: Any) -> list[Any]:
            competition = self.connection.competition
            return list(
                api.competition_submissions(competition, page_number=page, page_size=PAGE_SIZE)
                or ()
            )

        return [_row(submission) for submission in self.connection.call(query) if submission]


def _row(submission: Any) -> Row:
    return Row(
        ref=int(submission.ref),
        status=Status[submission.status.name],
        description=submission.description or "",
        file_name=submission.file_name or "",
        date=submission.date.isoformat() if submission.date else "",
        public_score=_score(submission.public_score),
        private_score=_score(submission.private_score),
        error=submission.error_description or "",
    )


def _score(text: str | None) -> float | None:
    # Kaggle writes "" or "None" for what it does not show.
    try:
        return float(text or "")
    except ValueError:
        return None
