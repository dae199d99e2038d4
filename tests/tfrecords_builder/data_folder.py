"""What a build has written."""

from pathlib import Path


def files_of(out: Path) -> dict[str, bytes]:
    """Returns all files of a data folder but the lock."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != "lock"
    }
