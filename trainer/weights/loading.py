"""From `--weights=...` to arrays that fit the network."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from trainer.weights import (
    archives,
    checkpoint,
    hdf5,
    keras_files,
    published,
    remote,
    run_folder,
)
from trainer.weights.head import fit_head
from trainer.weights.matching import assign
from trainer.weights.tensors import (
    LoadedWeights,
    Shape,
    StoredTensor,
    WeightFile,
    WeightsError,
)


def load_weights(
    source: str,
    backbone: str,
    expected: Mapping[str, Shape],
    *,
    classes: Sequence[str] | None = None,
) -> LoadedWeights:
    """Reads the weights that `source` names, complete for the trunk or not at all.

    Args:
        source: `imagenet`, `noisy-student`, or the path, here or on `gs://`, of a Keras file, of a
            TensorFlow checkpoint (folder, prefix or tar) or of an earlier run's folder.
        backbone: name in `keras.applications`, e.g. `EfficientNetB5`.
        expected: `<layer>/<variable>` -> shape of every variable of the network.
        classes: names in the order of the network's outputs. The source's head is taken if its
            classes have the same names, reordered if need be; None goes by shape alone.

    Returns:
        float32 arrays for every variable of the trunk, for those of the head too if it fits, and
        an account of every tensor of the source.

    Raises:
        WeightsError: the source cannot be read or does not fit; the message says what to do.
    """
    with open_weights(source, backbone) as file:
        assignment = assign(file, backbone, expected)
        arrays = {key: read_float32(tensor, file) for key, tensor in assignment.used.items()}
        loaded = LoadedWeights(
            arrays=arrays,
            used={key: tensor.name for key, tensor in assignment.used.items()},
            left_out=assignment.left_out,
            not_filled=assignment.not_filled,
            description=f"{file.source} ({file.format})",
            sha256=file.sha256,
            classes=file.classes,
            notes=file.notes,
        )
    return loaded if classes is None else fit_head(loaded, classes)


@contextmanager
def open_weights(source: str, backbone: str = "") -> Iterator[WeightFile]:
    """Opens a source for reading, whatever its format; the bytes decide, not the name.

    Args:
        source: as for `load_weights`.
        backbone: whose weights `imagenet` and `noisy-student` mean.

    Raises:
        WeightsError: nothing is there, or it is of no known format.
    """
    with ExitStack() as stack:
        if source in published.NAMES:
            path = published.published_file(source, backbone)
        elif source.startswith(remote.SCHEME):
            path = stack.enter_context(remote.local_copy(source))
            yield replace(stack.enter_context(_recognise(path)()), source=source)
            return
        else:
            path = Path(os.path.expanduser(source))
        yield stack.enter_context(_recognise(path)())


def check_weights(source: str, backbone: str) -> None:
    """Looks whether `load_weights` has something to read, in no time and without TensorFlow.

    A name must be one of weights that are published for the backbone; a path on this machine must
    lead to a file or folder of a known kind, by its first bytes. On `gs://` nothing is looked at.

    Raises:
        WeightsError: it has not; the same message as later.
    """
    if source in published.NAMES:
        published.require_published(source, backbone)
    elif not source.startswith(remote.SCHEME):
        _recognise(Path(os.path.expanduser(source)))


def _recognise(path: Path) -> Callable[[], AbstractContextManager[WeightFile]]:
    """How to open what is there."""
    if path.is_dir() and (path / run_folder.MODEL_FILE).is_file():
        path = path / run_folder.MODEL_FILE
    prefix = checkpoint.find_checkpoint(path)
    if prefix is not None:
        files = checkpoint.checkpoint_files(prefix)
        return lambda: checkpoint.open_checkpoint(prefix, str(prefix), files_sha256(files))
    if not path.is_file():
        raise WeightsError(_what_is_there(path))
    with path.open("rb") as stream:
        start = stream.read(16)
    if start.startswith(hdf5.SIGNATURE):
        return lambda: keras_files.open_keras_hdf5(path, files_sha256([path]))
    if start.startswith(keras_files.ZIP_SIGNATURE):
        return lambda: keras_files.open_keras_archive(path, files_sha256([path]))
    if start[8:9] == b"{":
        return lambda: run_folder.open_safetensors(path, files_sha256([path]))
    if archives.is_tar(path):
        return lambda: _open_archive(path)
    if not start:
        raise WeightsError(f"{path} is empty; download or copy it again")
    text = " (a web page: the download was refused)" if start.lstrip()[:1] == b"<" else ""
    raise WeightsError(
        f"{path} starts with {start[:8]!r}{text}; a Keras .h5, .hdf5 or .keras file, a TensorFlow "
        f"checkpoint or tar of one, or the {run_folder.MODEL_FILE} of a run is needed"
    )


@contextmanager
def _open_archive(path: Path) -> Iterator[WeightFile]:
    with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder:
        archives.unpack_checkpoint(path, Path(folder))
        prefix = checkpoint.find_checkpoint(Path(folder))
        if prefix is None:
            raise WeightsError(
                f"{path} holds no TensorFlow checkpoint (no .index file); "
                "an archive such as noisy_student_efficientnet-b5.tar.gz is needed"
            )
        with checkpoint.open_checkpoint(prefix, str(path), files_sha256([path])) as file:
            yield file


def _what_is_there(path: Path) -> str:
    needs = "a file or folder with weights is needed"
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir())
        return (
            f"{path} is a folder with {', '.join(names[:5]) or 'nothing'} in it; {needs}: "
            f"a run with {run_folder.MODEL_FILE}, or a TensorFlow checkpoint"
        )
    if len(path.parts) == 1:
        known = " or ".join(published.NAMES)
        return f"there is no {path.name!r} here; {needs}, or the name {known}: check the name"
    if path.parent.is_dir():
        return f"there is no {path.name!r} in {path.parent}; {needs}: check the name"
    return f"there is no folder {path.parent}; {needs}: check the path"


def files_sha256(paths: Sequence[Path]) -> str:
    """Hex digest of the bytes of one file, or of several in their order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


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
