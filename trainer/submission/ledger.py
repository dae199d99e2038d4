"""Everything ever handed in from this machine, one JSON object a line, only ever appended to."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer.submission.errors import SubmissionError


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What is known of one handed-in file at one time; the last entry of a file holds."""

    time: str
    """ISO 8601, UTC."""
    competition: str
    sha256: str
    """Of the file's bytes, hexadecimal."""
    file: str
    """Absolute path at the time."""
    run_dir: str | None
    message: str
    ref: int
    """Kaggle's number of the submission."""
    status: str
    """"pending", "complete" or "error"."""
    public_score: float | None
    private_score: float | None
    error: str


def default_ledger() -> Path:
    """`submissions.jsonl` in the user's state folder (XDG base directory specification)."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(
        os.path.expanduser("~"), ".local/state"
    )
    return Path(state) / "staged-trainer" / "submissions.jsonl"


class Ledger:
    """The file, made when first written to."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def entries(self) -> list[Entry]:
        """All entries, oldest first; a last line that was cut off while writing is left out.

        Raises:
          SubmissionError: A line is not an entry.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        entries = []
        for number, line in enumerate(text.splitlines(keepends=True), start=1):
            if not line.endswith("\n"):
                break
            try:
                entries.append(Entry(**json.loads(line)))
            except (ValueError, TypeError):
                raise SubmissionError(
                    f"line {number} of {self.path} is no ledger entry; one JSON object a line is "
                    "needed; correct the line, or move the file away and keep it"
                ) from None
        return entries

    def last(self, competition: str, sha256: str) -> Entry | None:
        """The last entry of a file in a competition."""
        matching = [
            entry
            for entry in self.entries()
            if entry.competition == competition and entry.sha256 == sha256
        ]
        return matching[-1] if matching else None

    def append(self, entry: Entry) -> None:
        """Adds an entry and flushes it to disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size:
                stream.seek(size - 1)
                if stream.read(1) != b"\n":
                    _drop_last_line(stream.fileno(), self.path)
            stream.write(json.dumps(asdict(entry)).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lets one process at a time look and hand in, so that two never hand in the same file.

        Raises:
          SubmissionError: Another process is at it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{self.path}.lock", "w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SubmissionError(
                    f"another process is handing in a file (it holds {self.path}.lock); one at a "
                    "time is needed; start this command again when it is done"
                ) from None
            yield


def _drop_last_line(descriptor: int, path: Path) -> None:
    """Cuts off what a crash left of a line, so that the next one starts fresh."""
    complete = path.read_bytes().rfind(b"\n") + 1
    os.ftruncate(descriptor, complete)
