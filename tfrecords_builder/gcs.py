"""Google Cloud Storage through its own client, with retries; one client a process.

`STORAGE_EMULATOR_HOST` leads to a stand-in, as the client documents.
"""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tfrecords_builder.errors import UserError

UPLOAD_CHUNK_BYTES = 16 * 2**20
"""Larger files go up in chunks, and a broken connection goes on with the next one."""
_PREFIX = "gs://"


class CloudStorageError(UserError):
    """Cloud Storage refuses, or cannot be reached."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """One object."""

    path: str
    num_bytes: int
    generation: str
    """Changes whenever the object is written."""


def read_bytes(path: str) -> bytes:
    """Returns the content of one object.

    Raises:
      FileNotFoundError: there is no such object.
      CloudStorageError: no access, or still failing after retries.
    """
    with _clear_errors(path):
        data: bytes = _blob(path).download_as_bytes(retry=_retry())
        return data


def download_file(path: str, local_path: str) -> None:
    """Downloads one object; its checksum is compared on the way.

    Raises:
      FileNotFoundError: there is no such object.
    """
    with _clear_errors(path):
        _blob(path).download_to_filename(local_path, checksum="crc32c", retry=_retry())


def write_bytes(path: str, data: bytes) -> None:
    """Writes one object, whole or not at all."""
    with _clear_errors(path):
        _blob(path).upload_from_string(data, checksum="crc32c", retry=_retry())


def upload_file(local_path: str, path: str) -> None:
    """Uploads a file with a resumable upload; the object appears once it is whole and checked."""
    with _clear_errors(path):
        _blob(path, chunk_size=UPLOAD_CHUNK_BYTES).upload_from_filename(
            local_path, checksum="crc32c", retry=_retry()
        )


def size_of(path: str) -> int:
    """Returns the size of one object.

    Raises:
      FileNotFoundError: there is no such object.
    """
    with _clear_errors(path):
        blob = _blob(path)
        blob.reload(retry=_retry())
        return int(blob.size)


def list_files(folder: str) -> Iterator[RemoteFile]:
    """Yields all objects below a folder, in the order of their names."""
    bucket, prefix = _split(folder.rstrip("/") + "/")
    with _clear_errors(folder):
        for blob in _client().list_blobs(bucket, prefix=prefix, retry=_retry()):
            if not blob.name.endswith("/"):  # The console makes such objects to show folders.
                yield RemoteFile(
                    path=f"{_PREFIX}{bucket}/{blob.name}",
                    num_bytes=int(blob.size),
                    generation=str(blob.generation),
                )


def remove(path: str) -> None:
    """Removes one object.

    Raises:
      FileNotFoundError: there is no such object.
    """
    with _clear_errors(path):
        _blob(path).delete(retry=_retry())


@functools.cache
def _client() -> Any:
    try:
        from google.auth.exceptions import DefaultCredentialsError
        from google.cloud import storage
    except ImportError as error:
        raise CloudStorageError(
            "gs:// paths need the Cloud Storage client, which is not installed; "
            "install it with: pip install google-cloud-storage"
        ) from error
    try:
        # Objects belong to no project, and credentials of a person often name none.
        return storage.Client(project=None)
    except DefaultCredentialsError as error:
        raise CloudStorageError(
            "no credentials for Google Cloud; run: gcloud auth application-default login"
        ) from error


def _retry() -> Any:
    """Returns the client's own policy: 408, 429 and 5xx again, with growing pauses."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY


def _blob(path: str, chunk_size: int | None = None) -> Any:
    bucket, name = _split(path)
    return _client().bucket(bucket).blob(name, chunk_size=chunk_size)


def _split(path: str) -> tuple[str, str]:
    bucket, _, name = path.removeprefix(_PREFIX).partition("/")
    if not bucket:
        raise CloudStorageError(f"{path!r} names no bucket; write gs://bucket/folder")
    return bucket, name


@contextlib.contextmanager
def _clear_errors(path: str) -> Iterator[None]:
    _client()
    from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(2, "no such object or bucket", path) from error
    except (GoogleAPICallError, RetryError) as error:
        reason = str(error).splitlines()[0][:200]
        raise CloudStorageError(
            f"{path}: {reason}; check the name, your access and the network"
        ) from error
    except GoogleAuthError as error:
        reason = str(error.args[0] if error.args else error).splitlines()[0][:200]
        raise CloudStorageError(
            f"{path}: the credentials for Google Cloud are not accepted ({reason}); "
            "run: gcloud auth application-default login"
        ) from error
