"""Unpacking the archive of a competition, checked, and recognising its parts."""

import shlex
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tfrecords_builder.errors import UserError

_CHUNK_BYTES = 1 << 20


class DownloadError(UserError):
    """Data that cannot be unpacked, or not where it was asked for."""


class DamagedArchive(DownloadError):
    """An archive whose bytes are not those that were packed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where the builder finds its parts, relative to the folder; None for a part not found."""

    images: str | None
    labels: str | None
    test_images: str | None
    sample_submission: str | None

    def builder_command(self, folder: Path, out: str) -> str | None:
        """The command that builds records of it; None if there are no labelled photos."""
        flags = self.builder_flags(folder)
        if flags is None:
            return None
        return shlex.join(["python", "-m", "tfrecords_builder", *flags, f"--out={out}"])

    def builder_flags(self, folder: Path) -> tuple[str, ...] | None:
        """The builder's flags for it, without --out; None if there are no labelled photos."""
        if self.images is None or self.labels is None:
            return None
        parts = {
            "images": self.images,
            "labels": self.labels,
            "test_images": self.test_images,
            "sample_submission": self.sample_submission,
        }
        found = (f"--{name}={folder / part}" for name, part in parts.items() if part is not None)
        return ("--source=csv", *found)


def find_layout(names: list[str]) -> Layout:
    """Recognises the parts of a competition by the names of its files, with forward slashes.

    Tables are the CSV files outside of the photo folders: the one with "sample" in its name, and
    the one with "train". Photo folders are those of the first level that hold anything else: the
    one with "train" and the one with "test" in its name.
    """
    tables = [name for name in names if name.lower().endswith(".csv") and name.count("/") == 0]
    folders = sorted({name.split("/")[0] for name in names if "/" in name})

    def first(candidates: list[str], word: str) -> str | None:
        return next((name for name in candidates if word in name.lower()), None)

    return Layout(
        images=first(folders, "train"),
        labels=first([name for name in tables if "sample" not in name.lower()], "train"),
        test_images=first(folders, "test"),
        sample_submission=first(tables, "sample"),
    )


def unpack(archive: Path, folder: Path, depth: int = 0) -> Iterator[tuple[str, int]]:
    """Unpacks an archive, and archives inside of it; yields (name, bytes) of every file.

    Files that are there with the right size and checksum are left as they are.

    Raises:
      DamagedArchive: It, or one inside of it.
      DownloadError: No space, a name that leads out of the folder, or a way of packing that is not
        known.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            members = [member for member in source.infolist() if not member.is_dir()]
            paths = [folder / _safe_name(member.filename, archive) for member in members]
            _check_space(_num_missing_bytes(paths, members), folder, archive)
            for path, member in zip(paths, members, strict=True):
                if not _is_intact(path, member):
                    _extract(source, member, path)
                # Some competitions pack their photos once more.
                if depth == 0 and path.suffix.lower() == ".zip" and zipfile.is_zipfile(path):
                    for name, size in unpack(path, path.parent, depth + 1):
                        yield (path.parent.relative_to(folder) / name).as_posix(), size
                    path.unlink()
                else:
                    yield path.relative_to(folder).as_posix(), member.file_size
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise DamagedArchive(
            f"{archive.name} is damaged ({error}); a whole archive is needed; start the same "
            "command again, which fetches it anew"
        ) from None
    except (NotImplementedError, RuntimeError) as error:  # Deflate64, a password
        raise DownloadError(
            f"{archive.name} cannot be unpacked here ({error}); an archive without a password in "
            f"Deflate, bzip2 or LZMA is needed; unpack it with another program into {folder}"
        ) from None


def _extract(source: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Writes one file under a temporary name; reading to its end checks the checksum."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with source.open(member) as reader, open(partial, "wb") as writer:
            shutil.copyfileobj(reader, writer, _CHUNK_BYTES)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _has_its_size(path: Path, member: zipfile.ZipInfo) -> bool:
    return path.is_file() and path.stat().st_size == member.file_size


def _is_intact(path: Path, member: zipfile.ZipInfo) -> bool:
    if not _has_its_size(path, member):
        return False
    checksum = 0
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum == member.CRC


def _safe_name(name: str, archive: Path) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise DownloadError(
            f"{archive.name} has a member {name!r} that points outside of the folder; names inside "
            "are needed; do not unpack this archive"
        )
    return str(path)


def _num_missing_bytes(paths: list[Path], members: list[zipfile.ZipInfo]) -> int:
    """What is still to be written: an interrupted unpacking goes on where the rest has room."""
    both = zip(paths, members, strict=True)
    return sum(member.file_size for path, member in both if not _has_its_size(path, member))


def _check_space(num_bytes: int, folder: Path, archive: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise DownloadError(
            f"{folder} has {free / 1e9:.1f} GB free, {archive.name} needs "
            f"{num_bytes / 1e9:.1f} GB to be unpacked; that much space is needed; free it or "
            "choose another --out"
        )
