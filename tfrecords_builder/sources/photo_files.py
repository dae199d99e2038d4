"""Finds photo files in a folder and never leaves that folder."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tfrecords_builder import gcs, storage
from tfrecords_builder.errors import UserError

MAX_FILE_BYTES = 256 * 2**20
"""A larger "photo" is left out unread: no camera writes one, and it would fill the memory."""

UNPRINTABLE = "file name is not printable UTF-8 text"
LINKED_FOLDER = "symbolic link to a folder, which is not followed"
LINKED_OUTSIDE = "symbolic link that leads out of the photo folder or to nothing"
TOO_LARGE = f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB"
_NOT_PHOTOS = frozenset({"thumbs.db", "desktop.ini"})


class SourceError(UserError):
    """A source of photos cannot be used as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoFile:
    """One file below the folder that was listed."""

    relative_path: str
    """With forward slashes on every system."""
    path: str
    num_bytes: int
    version: str
    """Time of the last change, in nanoseconds; in Cloud Storage the generation."""
    refusal: str | None = None
    """Why this file must not be read; None where it may be."""


def list_photo_files(folder: str) -> list[PhotoFile]:
    """Lists all files below a folder, in natural order of their relative paths.

    Hidden files and the systems' own (Thumbs.db) do not count as photos. Links to folders are
    not followed.

    Raises:
      SourceError: there is no such folder, or it holds no file or cannot be listed.
    """
    list_files = _list_remote if storage.is_remote(folder) else _list_local
    try:
        files = sorted(list_files(folder), key=lambda file: natural_key(file.relative_path))
        what = "holds no photo"
    except OSError as error:
        missing = isinstance(error, FileNotFoundError) and error.filename == folder
        files = []
        what = "does not exist" if missing else f"cannot be listed ({error})"
    if not files:
        raise SourceError(f"photo folder {folder!r} {what}; give the folder that holds the photos")
    return files


def read_photo_file(path: str) -> bytes:
    """Returns the bytes of one photo.

    Raises:
      OSError: it cannot be read or is larger than `MAX_FILE_BYTES`.
    """
    if storage.is_remote(path):
        return storage.read_bytes(path)
    with open(path, "rb", buffering=0) as file:
        # Listing has refused large files; this one may have grown since.
        if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
            raise OSError(TOO_LARGE)
        return file.read()


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Returns a sort key that puts "9" before "10" and "a2" before "a10"."""
    return tuple(
        (0, int(part), part) if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", text)
        if part
    )


def _list_remote(folder: str) -> Iterator[PhotoFile]:
    start = len(folder.rstrip("/")) + 1
    for file in gcs.list_files(folder):
        relative_path = file.path[start:]
        parts = relative_path.split("/")
        if any(part.startswith(".") for part in parts) or parts[-1].lower() in _NOT_PHOTOS:
            continue
        yield PhotoFile(
            relative_path=relative_path,
            path=file.path,
            num_bytes=file.num_bytes,
            version=file.generation,
            refusal=_refusal(relative_path, file.num_bytes),
        )


def _list_local(folder: str) -> Iterator[PhotoFile]:
    return _walk(folder, os.path.realpath(folder), "")


def _walk(folder: str, root: str, prefix: str) -> Iterator[PhotoFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in _NOT_PHOTOS:
                continue
            relative_path = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, root, f"{relative_path}/")
            elif entry.is_symlink():
                yield _linked_file(entry, root, relative_path)
            elif entry.is_file(follow_symlinks=False):
                yield _photo_file(entry.path, relative_path, entry.stat())


def _linked_file(entry: "os.DirEntry[str]", root: str, relative_path: str) -> PhotoFile:
    target = os.path.realpath(entry.path)
    inside = os.path.commonpath([root, target]) == root
    if inside and os.path.isfile(target):
        return _photo_file(entry.path, relative_path, os.stat(entry.path))
    return PhotoFile(
        relative_path=relative_path,
        path=entry.path,
        num_bytes=0,
        version="",
        refusal=LINKED_FOLDER if os.path.isdir(target) else LINKED_OUTSIDE,
    )


def _photo_file(path: str, relative_path: str, stat: os.stat_result) -> PhotoFile:
    return PhotoFile(
        relative_path=relative_path,
        path=path,
        num_bytes=stat.st_size,
        version=str(stat.st_mtime_ns),
        refusal=_refusal(relative_path, stat.st_size),
    )


def _refusal(relative_path: str, num_bytes: int) -> str | None:
    # Also false for names that are not UTF-8: those hold lone surrogates.
    if not relative_path.isprintable():
        return UNPRINTABLE
    return TOO_LARGE if num_bytes > MAX_FILE_BYTES else None
