"""Named tensors in one file, written whole or not at all, with a checksum inside.

The format is safetensors: readable elsewhere, and nothing in it can be executed. Metadata
`sha256` covers names, types, shapes and contents of the tensors, and the other metadata.
"""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from trainer.errors import DataError
from trainer.whole_files import write_whole

CHECKSUM = "sha256"
_ALIGNMENT = 8
"""Of the first tensor; the header is filled up with blanks."""


class BrokenFileError(DataError):
    """A file that was read, but is cut short or was changed."""


def write_tensors(path: str, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes the file whole or not at all; local or gs://."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    data = safetensors.numpy.save(arrays, {**metadata, CHECKSUM: _checksum(arrays, metadata)})
    header, start = _sorted_header(data)
    write_whole(path, header, data[start:])


def read_tensors(path: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns (arrays, metadata).

    Raises:
        DataError: the file is missing, or cannot be reached now.
        BrokenFileError: it is cut short or changed.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            data = file.read()
    except (tf.errors.OpError, OSError) as error:
        raise DataError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); need the file and the right to "
            "read it; look at the path and, for gs://, the credentials"
        ) from error
    try:
        arrays = safetensors.numpy.load(data)
        metadata = _metadata(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise BrokenFileError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); need a whole file written by "
            "this program; use another one"
        ) from error
    if metadata.pop(CHECKSUM, "") != _checksum(arrays, metadata):
        raise BrokenFileError(
            f"{path} was changed after it was written (checksum differs); use another one"
        )
    return arrays, metadata


def _sorted_header(data: bytes) -> tuple[bytes, int]:
    """(length and header with sorted metadata, where the tensors begin in `data`).

    The library writes metadata in an order that differs from call to call; equal contents are to
    give equal files.
    """
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text, 8 + length


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata stands in the JSON header, whose length are the first 8 bytes."""
    length = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return metadata


def _checksum(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
