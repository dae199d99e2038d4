"""The weights that a run leaves for others: those of the best epochs, and its model."""

import json
import os

import tensorflow as tf

from tfrecords_builder.manifest import Manifest
from trainer.engine.stage_state import StageState
from trainer.engine.tensor_files import read_tensors, write_tensors
from trainer.plan import StagePlan
from trainer.progress import EpochRecord
from trainer.recipe import Recipe
from trainer.run_record import MODEL_FILE
from trainer.whole_files import writing

FOLDER = "weights"


class WeightFiles:
    """`weights/<stage number>-<stage>-epoch<epoch>.safetensors` and `MODEL_FILE` of a run folder.

    Args:
        run_dir: local or gs://.
        recipe: whose backbone is written beside the weights.
        manifest: whose classes are.
        writes: False on workers other than the chief.
    """

    def __init__(self, run_dir: str, recipe: Recipe, manifest: Manifest, writes: bool):
        self._run_dir = run_dir
        self._backbone = recipe.backbone
        self._classes = manifest.classes
        self._writes = writes

    def save(self, plan: StagePlan, state: StageState, record: EpochRecord) -> str:
        """Writes the network's weights behind an epoch; returns the file's name in the folder."""
        name = f"{FOLDER}/{plan.index:02d}-{record.stage}-epoch{record.epoch:03d}.safetensors"
        if self._writes:
            metadata = {
                "classes": json.dumps(self._classes),
                "backbone": self._backbone,
                "image_px": str(plan.stage.image_px),
                "stage": plan.stage.name,
            }
            path = os.path.join(self._run_dir, name)
            with writing(path):
                tf.io.gfile.makedirs(os.path.dirname(path))
                write_tensors(path, state.weights(), metadata)
        return name

    def keep_only(self, plan: StagePlan, kept: str | None) -> None:
        """Of a stage that is over, removes all weights but these."""
        folder = os.path.join(self._run_dir, FOLDER)
        if not self._writes or not tf.io.gfile.isdir(folder):
            return
        for name in tf.io.gfile.listdir(folder):
            if name.startswith(f"{plan.index:02d}-") and f"{FOLDER}/{name}" != kept:
                tf.io.gfile.remove(os.path.join(folder, name))

    def publish(self, name: str | None) -> None:
        """Makes a file of the folder the run's model; nothing to do for None."""
        if self._writes and name is not None:
            arrays, metadata = read_tensors(os.path.join(self._run_dir, name))
            path = os.path.join(self._run_dir, MODEL_FILE)
            with writing(path):
                write_tensors(path, arrays, metadata)
