"""Reads the CSV files of a Kaggle competition, trusting nothing in them."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from tfrecords_builder import storage
from tfrecords_builder.sources.photo_files import SourceError

MAX_SHOWN = 3
MAX_CLASS_NAME = 255
"""Characters; what a folder's name may have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelTable:
    """Two columns of a CSV file, in its order; the names as its header writes them."""

    id_column: str
    label_column: str
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    """Third column, where one was asked for."""


def load_label_table(
    path: str,
    *,
    id_column: str,
    label_column: str,
    group_column: str | None = None,
    ids_are_files: bool = True,
    may_be_empty: bool = False,
) -> LabelTable:
    """Loads ids and labels from a CSV file with a header.

    A byte order mark, CRLF line ends and quoted fields are understood. Column names are matched
    exactly or else without regard to case. Ids must be plain relative file names, unless
    `ids_are_files` is false.

    Raises:
      SourceError: the file is missing or not such a table; the message names the line.
    """
    text = load_text(path, f"a CSV file with the columns {id_column},{label_column}")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        names = [id_column, label_column, *([group_column] if group_column else [])]
        columns = [_find_column(header, name, path) for name in names]
        rows = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise SourceError(
                    f"{path}, line {reader.line_num}: {len(row)} fields where the header has "
                    f"{len(header)}; mend the line"
                )
            record_id, label, *group = (row[column] for column in columns)
            where = f"{path}, line {reader.line_num}"
            if ids_are_files:
                _check_file_name(record_id, where)
            _check_class_name(label, where)
            rows.append((record_id, label, *group))
    except csv.Error as error:
        raise SourceError(
            f"{path}, line {reader.line_num}: not CSV ({error}); mend the line"
        ) from error
    if not rows and not may_be_empty:
        raise SourceError(f"{path}: no rows below the header; give a table with one row a photo")
    ids, labels, *groups = zip(*rows, strict=True) if rows else ((),) * len(columns)
    _check_unique(ids, path)
    return LabelTable(
        id_column=header[columns[0]],
        label_column=header[columns[1]],
        ids=ids,
        labels=labels,
        groups=groups[0] if groups else None,
    )


def load_text(path: str, needed: str) -> str:
    """Returns the text of a file that the user wrote, without its byte order mark.

    Raises:
      SourceError: it cannot be read or is no text; the message asks for what is `needed`.
    """
    try:
        return storage.read_bytes(path).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise SourceError(f"{path!r} does not exist; give {needed}") from error
    except OSError as error:
        raise SourceError(f"{path!r} cannot be read ({error.strerror}); give {needed}") from error
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error


def shown(items: list[str]) -> str:
    """Returns the first few items, quoted, for an error message."""
    more = f", ... ({len(items)} in all)" if len(items) > MAX_SHOWN else ""
    return ", ".join(repr(item) for item in items[:MAX_SHOWN]) + more


def _find_column(header: list[str], name: str, path: str) -> int:
    exact = [number for number, title in enumerate(header) if title == name]
    matches = exact or [
        number for number, title in enumerate(header) if title.lower() == name.lower()
    ]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise SourceError(
            f"{path}: columns {header} have no {name!r}; "
            "rename the column or give --id_column and --label_column"
        )
    raise SourceError(f"{path}: {len(matches)} columns are called {name!r}; keep one of them")


def _check_file_name(record_id: str, where: str) -> None:
    parts = record_id.split("/")
    plain = record_id.isprintable() and "\\" not in record_id and "\0" not in record_id
    if not plain or any(part in ("", ".", "..") for part in parts):
        raise SourceError(
            f"{where}: id {record_id[:80]!r} is not a file name inside the photo folder; "
            "write ids like 100155.jpg"
        )


def _check_class_name(label: str, where: str) -> None:
    if not label.strip() or not label.isprintable() or len(label) > MAX_CLASS_NAME:
        raise SourceError(f"{where}: {label[:80]!r} is no class name; write one for every id")


def _check_unique(ids: Sequence[str], path: str) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    repeated = []
    for record_id in ids:
        if record_id in seen:
            repeated.append(record_id)
        seen.add(record_id)
    raise SourceError(f"{path}: duplicate ids: {shown(repeated)}; keep one row for each id")
