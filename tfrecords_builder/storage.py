"""Files by path, local or `gs://`, with the few operations that the builder needs."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

from tfrecords_builder import gcs
from tfrecords_builder.errors import UserError

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
    path = os.fspath(path)
    if is_remote(path):
        return gcs.read_bytes(path)
    with open(path, "rb") as file:
        return file.read()


def write_bytes(path: str, data: bytes) -> None:
    """Writes a file whole or not at all."""
    if is_remote(path):
        gcs.write_bytes(path, data)
        return
    with place_for(path) as temporary, open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def make_folder_of(path: str) -> None:
    """Makes the folder that a file is to be written to; called before the work it is the fruit of.

    Raises:
      UserError: It cannot be made, or nothing can be written to it.
    """
    if is_remote(path):
        return
    folder = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(folder, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK) else "no right to write"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason or os.path.isdir(path):
        raise UserError(
            f"{path} cannot be written ({reason or 'it is a folder'}); need the name of a file in "
            "a folder that can be written to; choose another"
        )


@contextlib.contextmanager
def place_for(path: str) -> Iterator[str]:
    """Gives a local path to write a file to, which appears under `path` if the block ends well."""
    if not is_remote(path):
        temporary = f"{path}.{os.getpid()}.tmp"
        yield temporary
        os.replace(temporary, path)
        return
    with tempfile.TemporaryDirectory() as folder:
        temporary = os.path.join(folder, "file")
        yield temporary
        gcs.upload_file(temporary, path)


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Gives a local path to the content of a file, for as long as the block lasts."""
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        local_path = os.path.join(folder, "copy")
        gcs.download_file(path, local_path)
        yield local_path


def size_of(path: str) -> int:
    """Returns the size in bytes.

    Raises:
      FileNotFoundError: there is no such file.
    """
    return gcs.size_of(path) if is_remote(path) else os.path.getsize(path)


def list_names(folder: str) -> list[str]:
    """Returns the names of the files directly in a folder; none where there is no folder."""
    if is_remote(folder):
        start = len(folder.rstrip("/")) + 1
        names = [file.path[start:] for file in gcs.list_files(folder)]
        return [name for name in names if "/" not in name]
    if not os.path.isdir(folder):
        return []
    return [entry.name for entry in os.scandir(folder) if not entry.is_dir()]


def list_tree(folder: str) -> Iterator[tuple[str, int]]:
    """Yields (path below the folder with forward slashes, bytes) of all files in it, at any depth.

    Links to folders are not followed.
    """
    if is_remote(folder):
        start = len(folder.rstrip("/")) + 1
        yield from ((file.path[start:], file.num_bytes) for file in gcs.list_files(folder))
        return
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            below = os.path.relpath(path, folder).replace(os.sep, "/")
            with contextlib.suppress(FileNotFoundError):  # A file that was renamed meanwhile.
                yield below, os.lstat(path).st_size


def is_empty(folder: str, *, but_for: str) -> bool:
    """Tells whether nothing but one folder is in a folder, or no such folder exists."""
    if is_remote(folder):
        inner = join(folder, but_for, "")
        return all(file.path.startswith(inner) for file in gcs.list_files(folder))
    return not os.path.isdir(folder) or set(os.listdir(folder)) <= {but_for}


def is_inside(path: str, folder: str) -> bool:
    """Tells whether a path is a folder or anything below it."""
    if is_remote(path) != is_remote(folder):
        return False
    if not is_remote(path):
        path, folder = os.path.realpath(path), os.path.realpath(folder)
    return join(path, "").startswith(join(folder, ""))


def remove(path: str) -> None:
    """Removes one file.

    Raises:
      FileNotFoundError: there is no such file.
    """
    if is_remote(path):
        gcs.remove(path)
    else:
        os.remove(path)
