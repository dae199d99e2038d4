"""Weights on `gs://`: what is needed of them comes to this machine first."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.weights.archives import is_checkpoint_file
from trainer.weights.run_folder import MODEL_FILE
from trainer.weights.tensors import WeightsError

SCHEME = "gs://"


@contextmanager
def local_copy(address: str) -> Iterator[Path]:
    """A temporary copy of a file, of a checkpoint, or of the weights in a folder.

    Raises:
        WeightsError: nothing is there, or it cannot be read.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="weights-") as folder:
        try:
            names = _needed_files(address.rstrip("/"))
            for name in names:
                tf.io.gfile.copy(name, str(Path(folder) / name.rpartition("/")[2]))
        except tf.errors.OpError as error:
            raise WeightsError(
                f"{address} cannot be read ({error.message}); "
                "check the address and that this machine may read the bucket"
            ) from error
        yield Path(folder) / names[0].rpartition("/")[2] if len(names) == 1 else Path(folder)


def _needed_files(address: str) -> list[str]:
    import tensorflow as tf

    gfile = tf.io.gfile
    if gfile.isdir(address):
        names = [name for name in gfile.listdir(address) if not name.endswith("/")]
        needed = [name for name in names if name == MODEL_FILE]
        needed = needed or [name for name in names if is_checkpoint_file(name)]
        if not needed:
            raise WeightsError(
                f"{address} is a folder with {', '.join(sorted(names)[:5]) or 'no file'} in it; "
                f"a run with {MODEL_FILE} or a TensorFlow checkpoint is needed"
            )
        return [f"{address}/{name}" for name in needed]
    if gfile.exists(address):
        return [address]
    files: list[str] = gfile.glob(f"{address}.index") + gfile.glob(f"{address}.data-*")
    if not files:
        raise WeightsError(f"there is nothing at {address}; weights are needed: check the address")
    return files
