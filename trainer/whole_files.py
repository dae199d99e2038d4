"""Files that readers find whole or not at all, local or gs://."""

from collections.abc import Iterator
from contextlib import contextmanager

from trainer.errors import TrainingError

UNFINISHED = ".part"
"""Ending of a file in work; a killed process leaves it behind."""


def write_whole(path: str, *parts: bytes) -> None:
    """Writes the parts under a temporary name and renames; an older file is replaced.

    Raises:
        tf.errors.OpError: it cannot be written; an older file is as it was.
    """
    # Here and not above: modules that only plan or read import this one too.
    import tensorflow as tf

    temporary = path + UNFINISHED
    with tf.io.gfile.GFile(temporary, "wb") as file:
        for part in parts:
            file.write(part)
    tf.io.gfile.rename(temporary, path, overwrite=True)


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Raises TrainingError where a disk is full or may not be written to."""
    import tensorflow as tf

    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise TrainingError(
            f"cannot write {what} ({str(error).splitlines()[0]}); what was written before is "
            "intact; make room and start the same command again"
        ) from error
