"""Where Vertex AI wants a training to put things: the variables that it sets in every container."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True, slots=True)
class VertexEnvironment:
    """gs:// folders; None where the service, or nobody, says nothing. Restarts see the same."""

    checkpoint_dir: str | None = None
    """The run folder, if the command names none."""
    model_dir: str | None = None
    """Receives the finished model and the run's record."""
    tensorboard_dir: str | None = None
    """Receives the curves instead of the run folder."""

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> Self:
        """From AIP_CHECKPOINT_DIR, AIP_MODEL_DIR and AIP_TENSORBOARD_LOG_DIR."""

        def folder(name: str) -> str | None:
            return variables.get(name, "").rstrip("/") or None

        return cls(
            checkpoint_dir=folder("AIP_CHECKPOINT_DIR"),
            model_dir=folder("AIP_MODEL_DIR"),
            tensorboard_dir=folder("AIP_TENSORBOARD_LOG_DIR"),
        )


def copy_model(run_dir: str, model_dir: str) -> None:
    """Copies what predictions need into another folder, the model last: if it is there, all is.

    Args:
        run_dir: of a finished run, local or gs://.
        model_dir: local or gs://; what is there is replaced.
    """
    import tensorflow as tf

    from trainer.run_record import FILE_NAME, MODEL_FILE

    tf.io.gfile.makedirs(model_dir)
    for name in (FILE_NAME, MODEL_FILE):
        target = os.path.join(model_dir, name)
        tf.io.gfile.copy(os.path.join(run_dir, name), target + ".part", overwrite=True)
        tf.io.gfile.rename(target + ".part", target, overwrite=True)
