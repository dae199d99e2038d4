"""Opening HDF5 files of unknown origin: only plain, local datasets, and nothing is executed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.weights.naming import reason_to_leave_out
from trainer.weights.tensors import StoredTensor, WeightsError

if TYPE_CHECKING:
    import h5py

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# The largest tensor of any trunk has 1.3e7 values; a head over 100,000 classes 2.6e8.
MAX_TENSOR_BYTES = 2 << 30


# What h5py raises on a damaged file depends on where the damage is.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)


@contextmanager
def open_hdf5(path: Path) -> Iterator["h5py.File"]:
    """Opens a file for reading.

    Raises:
        WeightsError: it is cut short or damaged.
    """
    import h5py

    with damage_of(str(path)):
        file = h5py.File(path, "r")
    with file:
        yield file


@contextmanager
def damage_of(source: str) -> Iterator[None]:
    """Turns what h5py says of a damaged file into one line; for the body that walks the file."""
    try:
        yield
    except WeightsError:
        raise
    except _DAMAGE as error:
        raise WeightsError(
            f"{source} cannot be read as HDF5 ({error}); it is damaged or cut short: "
            "download or copy it again"
        ) from error


def member(group: "h5py.Group", name: str) -> Any:
    """The group or dataset stored under `name`, following no link out of the file."""
    import h5py

    at: Any = group
    for part in name.split("/"):
        link = at.get(part, getlink=True) if isinstance(at, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            raise WeightsError(
                f"{group.file.filename} holds no {name!r} in {group.name!r}, or only a link to it; "
                "save the weights again with Keras into one file"
            )
        at = at[part]
    return at


def walk_datasets(group: "h5py.Group") -> Iterator["h5py.Dataset"]:
    """Every dataset below a group, by name; links are refused."""
    import h5py

    for name in group:
        item = member(group, name)
        if isinstance(item, h5py.Group):
            yield from walk_datasets(item)
        else:
            yield item


def text_list(group: "h5py.Group", name: str) -> list[str] | None:
    """A list of strings kept as attribute; long ones are in pieces name0, name1, ..."""
    if name in group.attrs:
        pieces = [group.attrs[name]]
    else:
        pieces = []
        while f"{name}{len(pieces)}" in group.attrs:
            pieces.append(group.attrs[f"{name}{len(pieces)}"])
        if not pieces:
            return None
    return [to_text(entry) for piece in pieces for entry in np.atleast_1d(piece)]


def to_text(value: Any) -> str:
    """An attribute's text, whichever way it was written."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def stored_tensor(dataset: "h5py.Dataset", key: str, left_out: str = "") -> StoredTensor:
    """A dataset, to be read later.

    Raises:
        WeightsError: its bytes lie in another file.
    """
    if dataset.external or dataset.is_virtual:
        raise WeightsError(
            f"{dataset.file.filename} keeps {dataset.name!r} in another file, which is not "
            "followed; save the weights again with Keras into one file"
        )
    bfloat16 = to_text(dataset.attrs.get("dtype", "")) == "bfloat16"

    def read() -> np.ndarray:
        if dataset.size * dataset.dtype.itemsize > MAX_TENSOR_BYTES:
            raise WeightsError(
                f"{dataset.file.filename} declares {dataset.shape} for {dataset.name!r}, over "
                f"{MAX_TENSOR_BYTES >> 30} GiB; no network here has such a tensor"
            )
        with damage_of(dataset.file.filename):
            values = np.asarray(dataset[()])
        if bfloat16:
            # The upper half of a float32; HDF5 has no such type and keeps it as two raw bytes.
            return (values.view("<u2").astype(np.uint32) << 16).view(np.float32)
        return values

    return StoredTensor(
        name=dataset.name.lstrip("/"),
        key=key,
        shape=tuple(dataset.shape),
        dtype="bfloat16" if bfloat16 else str(dataset.dtype),
        read=read,
        left_out=left_out or reason_to_leave_out(key),
    )
