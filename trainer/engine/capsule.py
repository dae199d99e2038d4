"""Capsules: what is needed to see a failed step again, in one folder of the run.

RUN/capsules/<step>/capsule.json    stage, steps, rates, loss, record ids, settings
                    checkpoints/    the last good checkpoint
                    weights/        what the stage began with, if that is all there was
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainer.errors import RunFolderError
from trainer.input.canvases import Canvases
from trainer.order import Order

FOLDER = "capsules"
FILE_NAME = "capsule.json"


def capsule_folder(run_dir: str, step: int) -> str:
    """Where the capsule of a failed step of a run is, or would be."""
    return os.path.join(run_dir, FOLDER, f"{step:09d}")


def write_capsule(
    run_dir: str, step: int, facts: Mapping[str, Any], files: Mapping[str, str]
) -> str:
    """Writes a capsule and returns its folder.

    Args:
        run_dir: of the run that failed.
        step: optimizer step of the run at which it failed; names the folder.
        facts: JSON data.
        files: name inside the capsule -> file to copy.
    """
    folder = capsule_folder(run_dir, step)
    for name, source in files.items():
        target = os.path.join(folder, name)
        tf.io.gfile.makedirs(os.path.dirname(target))
        tf.io.gfile.copy(source, target, overwrite=True)
    tf.io.gfile.makedirs(folder)
    with tf.io.gfile.GFile(os.path.join(folder, FILE_NAME), "w") as file:
        file.write(json.dumps(facts, indent=1) + "\n")
    return folder


def describe_batches(
    order: Order, canvases: Canvases, steps: Sequence[int]
) -> list[dict[str, Any]]:
    """The photos of some steps: epochs, record indices and ids, as JSON data."""
    batches = [(step, order.batch(step)) for step in steps]
    # Names become known by reading, and other workers have read their part of the batches.
    for _, rows in batches:
        canvases.gather(rows.indices)
    return [
        {
            "step": step,
            "epochs": rows.epochs.tolist(),
            "indices": rows.indices.tolist(),
            "ids": [canvases.ids[index] for index in rows.indices],
        }
        for step, rows in batches
    ]


def read_capsule(folder: str) -> dict[str, Any]:
    """The facts of a capsule.

    Raises:
        RunFolderError: it is none.
    """
    path = os.path.join(folder, FILE_NAME)
    if not tf.io.gfile.exists(path):
        raise RunFolderError(
            f"{folder!r} holds no {FILE_NAME}; need a folder below {FOLDER}/ of a run; "
            "the error that ended the run names it"
        )
    with tf.io.gfile.GFile(path) as file:
        facts: dict[str, Any] = json.loads(file.read())
    return facts
