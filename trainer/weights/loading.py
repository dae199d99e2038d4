"""From `--weights=...` to arrays that fit the network."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np

from trainer.weights import hdf5, keras_files, run_folder
from trainer.weights.matching import assign
from trainer.weights.tensors import (
    LoadedWeights,
    Shape,
    StoredTensor,
    WeightFile,
    WeightsError,
)


def load_weights(source: str, backbone: str, expected: Mapping[str, Shape]) -> LoadedWeights:
    """Reads the weights that `source` names, complete for the trunk or not at all.

    Args:
        source: the path of a Keras file or of an earlier run's folder.
        backbone: name in `keras.applications`, e.g. `EfficientNetB5`.
        expected: `<layer>/<variable>` -> shape of every variable of the network.

    Returns:
        float32 arrays for every variable of the trunk, for those of the head too if the source
        has the very same head, and an account of every tensor of the source.

    Raises:
        WeightsError: the source cannot be read or does not fit; the message says what to do.
    """
    with open_weights(source) as file:
        assignment = assign(file, backbone, expected)
        arrays = {key: read_float32(tensor, file) for key, tensor in assignment.used.items()}
        return LoadedWeights(
            arrays=arrays,
            used={key: tensor.name for key, tensor in assignment.used.items()},
            left_out=assignment.left_out,
            not_filled=assignment.not_filled,
            description=f"{file.source} ({file.format})",
            sha256=file.sha256,
            classes=file.classes,
            notes=file.notes,
        )


@contextmanager
def open_weights(source: str) -> Iterator[WeightFile]:
    """Opens a source for reading, whatever its format; the bytes decide, not the name.

    Raises:
        WeightsError: nothing is there, or it is of no known format.
    """
    path = Path(source).expanduser()
    if path.is_dir() and (path / run_folder.MODEL_FILE).is_file():
        path = path / run_folder.MODEL_FILE
    if not path.is_file():
        raise WeightsError(_what_is_there(path))
    with _opener(path) as file:
        yield file


def _opener(path: Path) -> AbstractContextManager[WeightFile]:
    with path.open("rb") as stream:
        start = stream.read(16)
    if start.startswith(hdf5.SIGNATURE):
        return keras_files.open_keras_hdf5(path, file_sha256(path))
    if start.startswith(keras_files.ZIP_SIGNATURE):
        return keras_files.open_keras_archive(path, file_sha256(path))
    if start[8:9] == b"{":
        return run_folder.open_safetensors(path, file_sha256(path))
    if not start:
        raise WeightsError(f"{path} is empty; download or copy it again")
    text = " (a web page: the download was refused)" if start.lstrip()[:1] == b"<" else ""
    raise WeightsError(
        f"{path} starts with {start[:8]!r}{text}; a Keras .h5, .hdf5 or .keras file or the "
        "model.safetensors of a run is needed"
    )


def _what_is_there(path: Path) -> str:
    needs = "a file or folder with weights is needed"
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir())
        return (
            f"{path} is a folder with {', '.join(names[:5]) or 'nothing'} in it; {needs}: "
            f"a run with {run_folder.MODEL_FILE}"
        )
    if path.parent.is_dir():
        return f"there is no {path.name!r} in {path.parent}; {needs}: check the name"
    return f"there is no folder {path.parent}; {needs}: check the path"


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_float32(tensor: StoredTensor, file: WeightFile) -> np.ndarray:
    """The values of a tensor as float32.

    Raises:
        WeightsError: they are no floating point numbers, or some are infinite or not a number.
    """
    values = tensor.read()
    if values.dtype.kind != "f":
        raise WeightsError(
            f"{file.source} keeps {tensor.name!r} as {values.dtype}; "
            "floating point weights are needed"
        )
    values = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(values).all():
        num_bad = int(values.size - np.isfinite(values).sum())
        raise WeightsError(
            f"{file.source} has {num_bad:,} values in {tensor.name!r} that are infinite or "
            "not a number; the training that wrote it had failed: give an earlier file"
        )
    return values
