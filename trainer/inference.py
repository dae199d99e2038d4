"""A finished run as a function from a split of records to logits."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrecords_builder.manifest import Manifest, load_manifest
from trainer.errors import DataError, RunFolderError
from trainer.recipe import Recipe
from trainer.run_record import MODEL_FILE, load_run_record, recipe_from_json

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitLogits:
    """What a run says about a split, in the order of its records."""

    ids: tuple[str, ...]
    labels: np.ndarray
    """int32 [N], -1 without labels"""
    logits: np.ndarray
    """float32 [N, K]"""


class TrainedRun:
    """The published model of a run folder.

    Args:
        run_dir: of a finished run (or one whose last stage wrote a model).
        strategy: where to run it.

    Raises:
        RunFolderError: there is no model in it.
    """

    def __init__(self, run_dir: str, strategy: "tf.distribute.Strategy"):
        import tensorflow as tf

        from trainer.engine.tensor_files import read_tensors
        from trainer.network.build import build_network

        self.run_dir = run_dir
        self.record = load_run_record(run_dir)
        path = os.path.join(run_dir, MODEL_FILE)
        if not tf.io.gfile.exists(path):
            raise RunFolderError(
                f"{run_dir!r} holds no {MODEL_FILE} yet; need a finished run; start its "
                "trainer.task again to go on"
            )
        arrays, metadata = read_tensors(path)
        self.recipe: Recipe = recipe_from_json(self.record["settings"]["recipe"])
        self.classes: tuple[str, ...] = tuple(self.record["data"]["classes"])
        self.image_px = int(metadata["image_px"])
        self._strategy = strategy
        with strategy.scope():
            self._network = build_network(self.recipe, len(self.classes), self.image_px)
        for name, variable in self._network.variables().items():
            variable.value.assign(arrays[name])

    def logits(self, data_dir: str, split_name: str, cache: str = "none") -> SplitLogits:
        """Runs the model over a split, every example exactly once.

        Raises:
            DataError: no such split, or other classes than the run was trained on.
        """
        from trainer.engine.evaluation import Evaluator, evaluation_batch_of
        from trainer.input.canvases import Canvases, canvas_px_of

        manifest = load_manifest(data_dir)
        self._check_classes(manifest, data_dir)
        split = manifest.splits.get(split_name)
        if split is None or split.num_examples == 0:
            raise DataError(
                f"{data_dir!r} has no split {split_name!r}; it has {', '.join(manifest.splits)}; "
                "choose one with --split"
            )
        canvases = Canvases(data_dir, split, canvas_px_of(self.image_px), cache)
        batch = evaluation_batch_of(split.num_examples, self._strategy.num_replicas_in_sync, 32)
        evaluator = Evaluator(
            self._strategy, self._model, self.recipe.stages[-1].augmentation, self.image_px, batch
        )
        logits = evaluator.logits(canvases)
        canvases.close()
        return SplitLogits(ids=tuple(canvases.ids), labels=canvases.labels, logits=logits)

    @property
    def _model(self) -> Any:
        return self._network.model

    def _check_classes(self, manifest: Manifest, data_dir: str) -> None:
        if tuple(manifest.classes) != self.classes:
            raise DataError(
                f"{data_dir!r} has the classes {', '.join(manifest.classes[:5])}, ... "
                f"({len(manifest.classes)}), the run "
                f"{', '.join(self.classes[:5])}, ... ({len(self.classes)}); need the same in the "
                "same order; "
                "use the data that the run was trained on"
            )


def softmax(logits: np.ndarray) -> np.ndarray:
    """float64 probabilities [N, K] of logits [N, K]."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
