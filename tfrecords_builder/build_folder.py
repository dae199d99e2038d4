"""The folder that a build writes: what is there already, whose it is, what is complete."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping

from tfrecords_builder import manifest as manifest_file
from tfrecords_builder import storage
from tfrecords_builder.errors import UserError
from tfrecords_builder.shard_writer import (
    UNREADABLE,
    ShardReport,
    dumps_report,
    parse_report,
)

STATE_FOLDER = ".build"
"""Holds a report of every finished shard, so that a later build knows what it can keep."""

_SHARD_PATTERN = re.compile(r"dataset-[a-z]+\.tfrecord-\d{5}-of-\d{5}")
_TEMPORARY_PATTERN = re.compile(r".+\.\d+\.tmp")


class BuildFolderError(UserError):
    """The output folder cannot be written as asked."""


def refuse_among_photos(out: str, source: Mapping[str, str]) -> None:
    """Raises where the results would lie among the photos of a source, as a listing describes it.

    Raises:
      BuildFolderError: they would.
    """
    for photos in (source.get("images"), source.get("test_images")):
        if photos is not None and storage.is_inside(out, photos):
            raise BuildFolderError(
                f"--out={out!r} lies in the photo folder {photos!r}, where the next build would "
                "take its files for photos; give a folder beside it"
            )


class BuildFolder:
    """Files of one build below `path`, local or `gs://`.

    A shard counts as finished once its report is there.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._state = storage.join(path, STATE_FOLDER)

    def refuse_strangers(self, source: Mapping[str, str]) -> None:
        """Raises unless the folder is new, empty or an earlier build of the same source.

        Raises:
          BuildFolderError: it holds something else, or lies among the photos.
        """
        if not storage.is_remote(self.path) and os.path.isfile(self.path):
            raise BuildFolderError(f"--out={self.path!r} is a file; give a folder")
        refuse_among_photos(self.path, source)
        text = self._read_text(STATE_FOLDER, "source.json")
        if text is None:
            # A build that is killed at once leaves a state folder that does not say whose it is.
            if storage.is_empty(self.path, but_for=STATE_FOLDER):
                return
            raise BuildFolderError(
                f"--out={self.path!r} already holds something that no build of ours wrote; "
                "give a new or empty folder"
            )
        try:
            known = json.loads(text)
        except ValueError:
            known = None
        if _without_slashes(known) != _without_slashes(source):
            raise BuildFolderError(
                f"--out={self.path!r} already holds the data of another source ({known}); "
                "give a new or empty folder"
            )

    @contextlib.contextmanager
    def claimed_for(self, source: Mapping[str, str]) -> Iterator[None]:
        """Makes the folder ours for a source, against strangers' files and other builds.

        Cloud Storage has no locks that die with their owner: there, two builds at once into one
        folder are the caller's to avoid.

        Raises:
          BuildFolderError: it holds something else, or another build is writing it.
        """
        self.refuse_strangers(source)
        with contextlib.nullcontext() if storage.is_remote(self.path) else self._locked():
            self._write_text(json.dumps(dict(source)), STATE_FOLDER, "source.json")
            yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            os.makedirs(self._state, exist_ok=True)
        except OSError as error:
            raise BuildFolderError(
                f"cannot make the folder {self.path!r} ({error.strerror}); give another --out"
            ) from error
        with open(os.path.join(self._state, "lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BuildFolderError(
                    f"another build is writing {self.path!r}; wait for it or give another --out"
                ) from error
            yield

    def file(self, name: str) -> str:
        """Returns the path of one file."""
        return storage.join(self.path, name)

    def finished_report(
        self, name: str, input_hash: str, *, check_content: bool
    ) -> ShardReport | None:
        """Returns the report of a shard that is complete and made from the same input.

        None where photos could not be read: a disk that failed or a permission that was missing
        does not show in the input.
        """
        report = self.read_report(name)
        if report is None or report.input_hash != input_hash:
            return None
        if any(row.reason.startswith(UNREADABLE) for row in report.quarantined):
            return None
        path = self.file(name)
        try:
            if storage.size_of(path) != report.num_bytes:
                return None
        except FileNotFoundError:
            return None
        # An object of Cloud Storage is there whole and checked, or not at all.
        if check_content and not storage.is_remote(path) and sha256_of(path) != report.sha256:
            return None
        return report

    def read_report(self, name: str) -> ShardReport | None:
        """Returns the report of a finished shard, or None."""
        text = self._read_text(STATE_FOLDER, f"{name}.json")
        try:
            return None if text is None else parse_report(text)
        except ValueError:
            return None

    def write_report(self, report: ShardReport) -> None:
        """Marks a shard as finished."""
        self._write_text(dumps_report(report), STATE_FOLDER, f"{report.file}.json")

    def read_sides(self, settings: str | None) -> dict[str, str]:
        """Returns id -> split of the last build, if it had these settings (None: any)."""
        text = self._read_text(STATE_FOLDER, "sides.json")
        try:
            content = json.loads(text or "")
        except ValueError:
            return {}
        if settings is not None and content["settings"] != settings:
            return {}
        sides: dict[str, str] = content["sides"]
        return sides

    def write_sides(self, settings: str, sides: Mapping[str, str]) -> None:
        """Remembers on which side every photo is."""
        content = {"settings": settings, "sides": dict(sorted(sides.items()))}
        self._write_text(json.dumps(content), STATE_FOLDER, "sides.json")

    def has_manifest(self) -> bool:
        """Tells whether an earlier build was finished."""
        return self._read_bytes(manifest_file.FILE_NAME) is not None

    def remove_manifest(self) -> None:
        """Marks the folder as unfinished."""
        with contextlib.suppress(FileNotFoundError):
            storage.remove(self.file(manifest_file.FILE_NAME))

    def stale_files(self, shards: set[str]) -> list[str]:
        """Returns the paths of shards that are not among these, and of what killed builds left."""
        stale = []
        for folder in (self.path, self._state):
            for name in storage.list_names(folder):
                shard = name.removesuffix(".json")
                is_old = _SHARD_PATTERN.fullmatch(shard) and shard not in shards
                if is_old or _TEMPORARY_PATTERN.fullmatch(name):
                    stale.append(storage.join(folder, name))
        return stale

    def holds(self, name: str, text: str) -> bool:
        """Tells whether a file is there and is what `write_text` makes of the text."""
        return self._read_bytes(name) == _encoded(text)

    def write_text(self, name: str, text: str) -> None:
        """Writes a small file whole or not at all."""
        self._write_text(text, name)

    def _read_bytes(self, *names: str) -> bytes | None:
        try:
            return storage.read_bytes(storage.join(self.path, *names))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _read_text(self, *names: str) -> str | None:
        data = self._read_bytes(*names)
        try:
            return None if data is None else data.decode()
        except UnicodeDecodeError:
            return None

    def _write_text(self, text: str, *names: str) -> None:
        storage.write_bytes(storage.join(self.path, *names), _encoded(text))


def _without_slashes(source: Mapping[str, str] | None) -> dict[str, str]:
    """Returns the description with folder/, as shells complete it, written like folder."""
    return {name: value.rstrip("/") for name, value in (source or {}).items()}


def _encoded(text: str) -> bytes:
    # Only file names that are not UTF-8 need the escape; nothing reads them back.
    return text.encode("utf-8", "backslashreplace")


def sha256_of(path: str) -> str:
    """Returns the hexadecimal SHA-256 of a local file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
