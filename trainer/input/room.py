"""Where decoded photos are kept: how much of memory and disk is free, as far as it is ours."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import psutil

from trainer.errors import DataError

CACHES = ("auto", "memory", "disk", "none")
_MEMORY_SHARE = 0.5
_DISK_SHARE = 0.8
_MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")
# Limit, use, and what of the use the kernel gives back when asked: files that nobody reads now.
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


def choose_cache(
    wanted: str, num_bytes: int, memory: int | None = None, disk: int | None = None
) -> str:
    """Resolves `auto`: memory, disk or none, the first that has room.

    Args:
        wanted: one of `CACHES`; other than `auto` it is obeyed.
        num_bytes: of all canvases of the stage.
        memory: bytes free, of which up to a half is taken; by default asked of the machine and
            shared with the cluster's workers on it.
        disk: bytes free where temporary files go, of which up to four fifths are taken; likewise,
            and none where these files are kept in memory.
    """
    if wanted != "auto":
        return wanted
    if memory is None:
        memory = free_memory() // workers_here()
    if num_bytes <= _MEMORY_SHARE * memory:
        return "memory"
    if disk is None:
        disk = 0 if is_in_memory() else free_disk() // workers_here()
    return "disk" if num_bytes <= _DISK_SHARE * disk else "none"


def require_room(cache: str, num_bytes: int) -> None:
    """Checks that what a stage keeps on disk has room there, before anything is decoded.

    Its files take their space page by page, and a disk that is full by then ends the process
    without a word (SIGBUS).

    Args:
        cache: that was chosen.
        num_bytes: of all canvases of the stage.

    Raises:
        DataError: they have not, with the other workers on this machine beside them.
    """
    if cache != "disk" or num_bytes <= (free := free_disk() // workers_here()):
        return
    raise DataError(
        f"decoded photos would take {num_bytes / 2**30:.1f} GiB and {tempfile.gettempdir()} has "
        f"{free / 2**30:.1f} GiB free for them; need room for them where temporary files go; set "
        "TMPDIR to a folder of a larger disk, or choose --cache=none"
    )


def free_memory(
    own: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")
) -> int:
    """Bytes that this process may still take: free on the machine, and within its limits.

    A container sees all of its machine's memory as free and is killed at a limit of its own,
    which Linux' control groups tell.

    Args:
        own: which control groups the process is in; other systems have no such file.
        mounted: where their limits are read.
    """
    return min([psutil.virtual_memory().available, *_left_of_limits(own, mounted)])


def free_disk(folder: str | None = None) -> int:
    """Bytes free where a folder is; where temporary files go by default."""
    return shutil.disk_usage(folder or tempfile.gettempdir()).free


def is_in_memory(folder: str | None = None, mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether the files of a folder are kept in memory; where temporary files go by default.

    Args:
        folder: looked up by its path alone.
        mounts: what is mounted where, of Linux; other systems have no such file.
    """
    place = PurePosixPath(os.path.realpath(folder or tempfile.gettempdir()))
    try:
        rows = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return False
    # A later one lies over an earlier one at the same place.
    kinds = {row[1].replace("\\040", " "): row[2] for row in rows}
    nearest = next((str(above) for above in (place, *place.parents) if str(above) in kinds), None)
    return nearest is not None and kinds[nearest] in _MEMORY_FILE_SYSTEMS


def workers_here(environment: Mapping[str, str] = os.environ) -> int:
    """How many of a cluster's workers share this machine, this one included; 1 without a cluster.

    They are those whose address in `TF_CONFIG` has the host of this one's.
    """
    try:
        config = json.loads(environment.get("TF_CONFIG") or "{}")
        kind, index = config["task"]["type"], config["task"]["index"]
        addresses = [address for each in config["cluster"].values() for address in each]
        own = config["cluster"][kind][index].rpartition(":")[0]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        # No cluster; a damaged one is for `trainer.devices` to refuse.
        return 1
    return sum(address.rpartition(":")[0] == own for address in addresses)


def _left_of_limits(own: Path, mounted: Path) -> Iterator[int]:
    """What is left of the limit of each control group that the process is in."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        top, names = (mounted / "memory", _V1) if controllers else (mounted, _V2)
        below = PurePosixPath(path.lstrip("/"))
        # A group is bound by those above it too. In a container the path may be that outside of
        # it, which is not there; the topmost folder then is the container's own group.
        for folder in (below, *below.parents):
            yield from _left(top / folder, *names)


def _left(folder: Path, limit: str, used: str, idle: str) -> Iterator[int]:
    try:
        most = int((folder / limit).read_text())
        now = int((folder / used).read_text())
        rows = (row.split() for row in (folder / "memory.stat").read_text().splitlines())
        given_back = next((int(row[1]) for row in rows if row[0] == idle), 0)
    except (OSError, ValueError):  # No such group, or the limit is "max".
        return
    yield max(0, most - now + given_back)
