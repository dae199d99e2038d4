"""Unpacking tar archives that come from somewhere else."""

import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from trainer.weights.tensors import WeightsError

# B7 with raw values, averages and two slots: 66e6 parameters * 4 * 4 bytes = 1.1 GB.
MAX_UNPACKED_BYTES = 4 << 30
MAX_MEMBERS = 1000
# float32 weights shrink by about a tenth; zeros shrink a thousandfold.
MAX_EXPANSION = 50
_EXPANSION_FLOOR_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise WeightsError(
            f"{path} cannot be unpacked ({error}); it may be cut short: download or copy it again"
        ) from error


def is_tar(path: Path) -> bool:
    """Whether a file is a tar archive, plain or compressed, going by its first bytes."""
    with path.open("rb") as stream:
        start = stream.read(262)
    return start[:2] == b"\x1f\x8b" or start[257:262] == b"ustar"


def unpack_checkpoint(path: Path, folder: Path) -> None:
    """Unpacks the checkpoint files of a `.tar` or `.tar.gz`; other files are passed over.

    Every member is checked before a byte of it is written. The archive is read as a stream, so
    that a bomb is met before it goes off.

    Raises:
        WeightsError: the archive is damaged; a member is a link or a device, or lies outside of
            the archive's own folder; or it unpacks to more than honest weights would.
    """
    unpacked = 0
    limit = min(
        MAX_UNPACKED_BYTES, max(_EXPANSION_FLOOR_BYTES, MAX_EXPANSION * path.stat().st_size)
    )
    with _readable(path), tarfile.open(path, "r|*") as archive:
        for count, member in enumerate(archive, start=1):
            _check_member(member, path)
            unpacked += member.size
            if unpacked > limit or count > MAX_MEMBERS:
                raise WeightsError(
                    f"{path} ({path.stat().st_size:,} bytes) unpacks to {count} files and over "
                    f"{min(unpacked, limit):,} bytes; at most {MAX_MEMBERS} files and {limit:,} "
                    "bytes are accepted: it is no honest checkpoint"
                )
            if member.isfile() and is_checkpoint_file(member.name):
                target = folder.joinpath(*PurePosixPath(member.name).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(member)
                assert content is not None, "a regular file has content"
                with target.open("xb") as stream:
                    while chunk := content.read(_CHUNK_BYTES):
                        stream.write(chunk)


def is_checkpoint_file(name: str) -> bool:
    """The graph (`.meta`) and the summaries beside a checkpoint are not needed."""
    base = PurePosixPath(name).name
    return base == "checkpoint" or base.endswith(".index") or ".data-" in base


def _check_member(member: tarfile.TarInfo, path: Path) -> None:
    where = PurePosixPath(member.name)
    if where.is_absolute() or ".." in where.parts or "\\" in member.name:
        problem = "lies outside of the archive's own folder"
    elif not (member.isfile() or member.isdir()):
        problem = "is a link or a device"
    else:
        return
    raise WeightsError(
        f"{path} holds {member.name!r}, which {problem}; a checkpoint has plain files only: "
        "get the archive from its publisher again"
    )
