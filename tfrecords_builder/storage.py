"""Files by path, local or `gs://`, with the few operations that the builder needs."""

import os

GCS_PREFIX = "gs://"


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Tells whether the path names an object of Google Cloud Storage."""
    return os.fspath(path).startswith(GCS_PREFIX)


def join(folder: str | os.PathLike[str], *names: str) -> str:
    """Joins path parts; `gs://` paths use forward slashes on every system."""
    folder = os.fspath(folder)
    if is_remote(folder):
        return "/".join([folder.rstrip("/"), *names])
    return os.path.join(folder, *names)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Returns the content of one file.

    Raises:
      FileNotFoundError: there is no such file.
    """
    with open(path, "rb") as file:
        return file.read()
