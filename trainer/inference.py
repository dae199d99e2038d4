"""A finished run as a function from photos to logits.

Shapes: V views, N examples, K classes.
"""

import hashlib
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrecords_builder.manifest import Manifest, load_manifest
from trainer.augment.config import IDENTITY, Augmentation, View
from trainer.errors import DataError, RunFolderError
from trainer.recipe import Recipe, Stage
from trainer.run_record import MODEL_FILE, load_run_record, recipe_from_json

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitLogits:
    """What a run says about a split, in the order of its records."""

    ids: tuple[str, ...]
    labels: np.ndarray
    """int32 [N], -1 without labels"""
    views: np.ndarray
    """float32 [V, N, K]"""

    @property
    def logits(self) -> np.ndarray:
        """float32 [N, K] of the first view."""
        return np.asarray(self.views[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Weights:
    arrays: dict[str, np.ndarray]
    sha256: str
    """Of the file."""
    image_px: int
    stage: Stage
    """The one that trained them: it holds the geometry of evaluation."""


class TrainedRun:
    """The network of a run folder with some of its weights.

    Args:
        run_dir: local or gs://.
        strategy: where to run it.
        weights_file: a file of the folder: the published model, `weights/...` or `checkpoints/...`.
        precision: to compute in, instead of the recipe's.

    Attributes:
        network: with these weights, at `image_px`.
        augmentation: the geometry in which it looks at photos.

    Raises:
        RunFolderError: there is no such file in it.
        DataError: the file is damaged.
    """

    def __init__(
        self,
        run_dir: str,
        strategy: "tf.distribute.Strategy",
        weights_file: str = MODEL_FILE,
        precision: str | None = None,
    ):
        import tensorflow as tf

        from trainer.network.build import build_network, cut_for_stage

        self.run_dir = run_dir
        self.record = load_run_record(run_dir)
        self.recipe: Recipe = recipe_from_json(self.record["settings"]["recipe"])
        self.classes: tuple[str, ...] = tuple(self.record["data"]["classes"])
        self.data_fingerprint: str = self.record["settings"]["data_fingerprint"]
        self.weights_file = weights_file
        weights = _read_weights(run_dir, weights_file, self.recipe)
        self.weights_sha256 = weights.sha256
        self.image_px = weights.image_px
        self.augmentation = weights.stage.augmentation
        self.strategy = strategy
        recipe = replace(self.recipe, precision=precision or self.recipe.precision)
        with strategy.scope():
            network = self.network = build_network(recipe, len(self.classes), self.image_px)
            # Folds what the stage folded: its validation and ours agree to the last bit.
            cut_for_stage(network, weights.stage)
        for name, variable in network.variables().items():
            if name not in weights.arrays:
                raise RunFolderError(
                    f"{weights_file!r} of {run_dir!r} lacks {name!r}; need the weights of a whole "
                    "network; name another file with --weights_file"
                )
            variable.value.assign(weights.arrays[name])
        # As a function of its own it is traced once for all views.
        self._model = tf.function(
            lambda pixels, training: network.model(pixels, training=training), autograph=False
        )

    def logits(
        self,
        data_dir: str,
        split_name: str,
        views: tuple[View, ...] = (IDENTITY,),
        cache: str = "auto",
    ) -> SplitLogits:
        """Runs the network over a split, every example exactly once and view.

        Args:
            data_dir: built records.
            split_name: of them.
            views: looks at each photo; one is the photo as the stage evaluated it.
            cache: where decoded photos are kept from view to view, see `Canvases`.

        Raises:
            DataError: no such split, or other classes than the run was trained on, or photos
                are to be kept on a disk that has no room for them.
        """
        from trainer.input.canvases import Canvases, canvas_px_of
        from trainer.input.room import choose_cache, require_room

        manifest = load_manifest(data_dir)
        self._check_classes(manifest, data_dir)
        split = manifest.splits.get(split_name)
        if split is None or split.num_examples == 0:
            raise DataError(
                f"{data_dir!r} has no split {split_name!r}; it has {', '.join(manifest.splits)}; "
                "choose one with --split"
            )
        canvas_px = canvas_px_of(self.image_px)
        num_bytes = split.num_examples * canvas_px**2 * 3
        kept = "none" if len(views) == 1 else choose_cache(cache, num_bytes)
        require_room(kept, num_bytes)
        canvases = Canvases(data_dir, split, canvas_px, kept)
        logits = self.logits_of(canvases, views)
        # One of several workers has read its own rows only.
        unread = np.flatnonzero(np.array([not name for name in canvases.ids]))
        if unread.size:
            canvases.gather(unread)
        canvases.close()
        return SplitLogits(ids=tuple(canvases.ids), labels=canvases.labels, views=logits)

    def logits_of(
        self,
        canvases: Any,
        views: tuple[View, ...] = (IDENTITY,),
        augmentation: Augmentation | None = None,
    ) -> np.ndarray:
        """float32 [V, N, K] of anything that gathers like `Canvases`, in its order.

        `augmentation` takes the place of the run's own, where a part of it is done already.
        """
        from trainer.engine.evaluation import EVALUATION_ROWS, Evaluator

        return np.stack(
            [
                Evaluator(
                    self.strategy,
                    self._model,
                    augmentation or self.augmentation,
                    self.image_px,
                    EVALUATION_ROWS,
                    view,
                ).logits(canvases)
                for view in views
            ]
        )

    def _check_classes(self, manifest: Manifest, data_dir: str) -> None:
        if tuple(manifest.classes) != self.classes:
            raise DataError(
                f"{data_dir!r} has the classes {', '.join(manifest.classes[:5])}, ... "
                f"({len(manifest.classes)}), the run {', '.join(self.classes[:5])}, ... "
                f"({len(self.classes)}); need the same in the same order; use the data that the "
                "run was trained on"
            )


def _read_weights(run_dir: str, weights_file: str, recipe: Recipe) -> _Weights:
    import tensorflow as tf

    from trainer.engine.tensor_files import read_tensors
    from trainer.progress import Progress

    path = os.path.join(run_dir, weights_file)
    if not tf.io.gfile.exists(path):
        wanted = (
            "need a finished run; start its trainer.task again to go on"
            if weights_file == MODEL_FILE
            else "need one of its files; name it as in weights/ or checkpoints/ of the run"
        )
        raise RunFolderError(f"{run_dir!r} holds no {weights_file}; {wanted}")
    arrays, metadata = read_tensors(path)
    stage = recipe.stages[-1]
    if "progress" in metadata:
        index = Progress.from_json(metadata["progress"]).stage
        stage = recipe.stages[min(index, len(recipe.stages) - 1)]
    elif named := [each for each in recipe.stages if each.name == metadata.get("stage")]:
        (stage,) = named
    elif numbered := re.match(r"weights/(\d+)-", weights_file):
        stage = recipe.stages[int(numbered[1])]
    with tf.io.gfile.GFile(path, "rb") as file:
        sha256 = hashlib.sha256(file.read()).hexdigest()
    image_px = int(metadata.get("image_px", stage.image_px))
    return _Weights(arrays=arrays, sha256=sha256, image_px=image_px, stage=stage)
