"""The CSV that is handed in: one header, one row a photo, in the order of the sample submission."""

import csv
import io
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.submission.errors import SubmissionError


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionFile:
    """A submission as read: `header` has two or more names, `rows` as many cells each."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """First column, in the order of the file."""
        return tuple(row[0] for row in self.rows)

    @property
    def labels(self) -> tuple[str, ...]:
        """Second column, in the order of the file."""
        return tuple(row[1] for row in self.rows)


def write_submission(
    path: str | os.PathLike[str],
    ids: Sequence[str],
    labels: Sequence[str],
    *,
    id_column: str,
    label_column: str,
) -> None:
    """Writes a submission; the file is there complete or not at all.

    Args:
      path: Local file; its folder is made when missing, an older file is replaced.
      ids: Record ids in the order of the sample submission.
      labels: The predicted class of each, as the competition writes it.
      id_column: Header of the first column.
      label_column: Header of the second column.

    Raises:
      SubmissionError: Not one label an id, an id twice, or nothing to write.
    """
    if not ids or len(ids) != len(labels) or len(set(ids)) != len(ids):
        raise SubmissionError(
            f"got {len(ids)} ids ({len(set(ids))} different) and {len(labels)} labels; one label "
            "for each id, every id once, is needed; predict the whole test split first"
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([id_column, label_column])
    writer.writerows(zip(ids, labels, strict=True))
    write_atomically(Path(path), text.getvalue())


def insert_missing(
    ids: Sequence[str], labels: Sequence[str], missing: Sequence[tuple[int, str]], label: str
) -> tuple[list[str], list[str]]:
    """Adds the rows of the sample submission for which there was no photo to predict.

    Args:
      ids: Predicted record ids, in the order of the sample submission.
      labels: One label each.
      missing: (row number in the sample submission from 0, id) of the rows that `ids` lacks.
      label: What the added rows get, for example the largest class of the training data.

    Returns:
      Ids and labels of all rows in the order of the sample submission.
    """
    all_ids, all_labels = list(ids), list(labels)
    for position, record_id in sorted(missing):
        all_ids.insert(position, record_id)
        all_labels.insert(position, label)
    return all_ids, all_labels


def write_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 text under a temporary name in the same folder, flushes it, renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files that only their owner may read; give what open() would have given.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_submission(path: str | os.PathLike[str]) -> SubmissionFile:
    """Reads a submission or a sample submission; a byte order mark and CRLF are understood.

    Raises:
      SubmissionError: Missing, not UTF-8, not a CSV of two columns or more, a row that is longer or
        shorter than the header, or no rows.
    """
    file = Path(path)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise SubmissionError(
            f"{file} is not there; a CSV file is needed; write one with python -m trainer.predict"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SubmissionError(
            f"{file} cannot be read as text ({type(error).__name__}); a CSV in UTF-8 is needed; "
            "name the submission, not an archive of it"
        ) from None
    try:
        # Blank lines are dropped, as pandas and Kaggle do.
        lines = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise SubmissionError(
            f"{file} is no CSV ({error}); a header and rows separated by commas are needed; "
            "write it again with python -m trainer.predict"
        ) from None
    if len(lines) < 2 or len(lines[0]) < 2:
        raise SubmissionError(
            f"{file} has {len(lines)} lines and {len(lines[0]) if lines else 0} columns; a header "
            "of id and label column and a row a photo are needed; write it again with "
            "python -m trainer.predict"
        )
    width = len(lines[0])
    for number, row in enumerate(lines[1:], start=2):
        if len(row) != width:
            raise SubmissionError(
                f"{file}: row {number} has {len(row)} cells, the header has {width}; every row "
                "needs as many; write it again with python -m trainer.predict"
            )
    return SubmissionFile(
        path=file, header=tuple(lines[0]), rows=tuple(tuple(row) for row in lines[1:])
    )
