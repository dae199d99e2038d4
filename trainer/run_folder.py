"""The run folder at a start: empty, or the same run's, or one that has learnt nothing yet."""

import os
from typing import Any

from trainer.errors import RunFolderError
from trainer.run_record import FILE_NAME, RunSettings, load_run_record
from trainer.tensorflow_start import COMPILE_CACHE
from trainer.whole_files import UNFINISHED

_BEFORE_THE_RECORD = {COMPILE_CACHE, FILE_NAME + UNFINISHED}
"""What a start that was killed may have left where it had not yet written its record."""
_MOST_NAMED = 3


def open_run(
    run_dir: str, settings: RunSettings, fresh: dict[str, Any], *, allow_changes: bool
) -> dict[str, Any]:
    """The record of the run in the folder, or the fresh one.

    Args:
        run_dir: local or gs://; made if it is not there.
        settings: that this start was given.
        fresh: record of a new run with them.
        allow_changes: go on with what other settings learnt.

    Raises:
        RunFolderError: the folder cannot be used, holds something else, or what a run with other
            settings learnt.
    """
    import tensorflow as tf

    try:
        names = tf.io.gfile.listdir(run_dir) if tf.io.gfile.isdir(run_dir) else []
        others = sorted({name.rstrip("/") for name in names} - _BEFORE_THE_RECORD)
        if not others:
            tf.io.gfile.makedirs(run_dir)
            return fresh
    except tf.errors.OpError as error:
        raise RunFolderError(
            f"{run_dir!r} cannot be made or read ({error.message}); need a folder to write to; "
            "look at the path, its permissions and, for gs://, the credentials"
        ) from error
    if FILE_NAME not in others:
        more = len(others) - _MOST_NAMED
        named = ", ".join(others[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        raise RunFolderError(
            f"--run_dir={run_dir} holds no run, but {named}; need an empty or a new folder, or one "
            f"with the {FILE_NAME} of a run to go on with; name another, such as "
            f"{os.path.join(run_dir, 'run')}"
        )
    stored = load_run_record(run_dir)
    differences = settings.differences(stored["settings"])
    # An average of runs is finished and was never trained.
    learnt = stored["finished"] or stored.get("history") or _has_checkpoint(run_dir)
    if differences and not learnt:
        return fresh  # A start that failed, on a misspelt path of weights for one: nothing to lose.
    if differences and not allow_changes:
        shown = "; ".join(differences[:5]) + ("; ..." if len(differences) > 5 else "")
        raise RunFolderError(
            f"{run_dir!r} holds a run with other settings ({shown}); need the same to go "
            "on; use another --run_dir, or --allow_changes to go on all the same"
        )
    return {
        **stored,
        "settings": settings.to_json(),
        "devices": fresh["devices"],
        "versions": fresh["versions"],
    }


def _has_checkpoint(run_dir: str) -> bool:
    import tensorflow as tf

    from trainer.engine.checkpoints import FOLDER

    return bool(tf.io.gfile.glob(os.path.join(run_dir, FOLDER, "*.safetensors")))
