"""The photos of a run: canvases of the stage at hand, and the batches made of them."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfrecords_builder.manifest import Manifest
from trainer.engine.features import FeatureViews, compute_feature_views
from trainer.engine.stage_state import StageState
from trainer.input.canvases import Canvases, Examples, canvas_px_of
from trainer.input.feed import train_feed
from trainer.input.room import choose_cache, require_room
from trainer.order import Order, windows_of
from trainer.plan import StagePlan


class StageInput:
    """Opens what a stage reads, and keeps it while the next ones want the same size.

    Args:
        manifest: of the built folder `data_dir`.
        cache: memory, disk, none or auto.
        seed: of the run.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        manifest: Manifest,
        data_dir: str,
        cache: str,
        seed: int,
    ):
        self._strategy = strategy
        self._manifest = manifest
        self._data_dir = data_dir
        self._cache = cache
        self._seed = seed
        self._canvases: dict[str, Canvases] = {}

    @property
    def train(self) -> Canvases:
        """Of the stage that was opened last."""
        return self._canvases["train"]

    @property
    def validation(self) -> Canvases | None:
        """The same; None if the data have no such split."""
        return self._canvases.get("val")

    def open(self, plan: StagePlan) -> None:
        """Makes ready what the stage reads, in the place of what an earlier one read.

        Raises:
            DataError: it is to be kept on a disk that has no room for it.
        """
        canvas_px = canvas_px_of(plan.stage.image_px)
        if self._canvases and self.train.canvas_px == canvas_px:
            return
        for canvases in self._canvases.values():
            canvases.close()
        found = [self._manifest.splits.get(name) for name in ("train", "val")]
        splits = [split for split in found if split is not None and split.num_examples]
        num_bytes = sum(split.num_examples for split in splits) * canvas_px**2 * 3
        cache = choose_cache(self._cache, num_bytes)
        require_room(cache, num_bytes)
        self._canvases = {
            split.name: Canvases(self._data_dir, split, canvas_px, cache) for split in splits
        }

    def features(self, plan: StagePlan, state: StageState) -> FeatureViews:
        """The frozen network's features of the training photos, for a stage that keeps them."""
        return compute_feature_views(self._strategy, state.cut.frozen, self.train, plan, self._seed)

    def feed(self, plan: StagePlan, examples: Examples, first_step: int) -> Iterator[Any]:
        """Distributed batches of the stage from a step on."""
        order = self.order(plan)
        return train_feed(self._strategy, examples, order, plan, self._seed, first_step)

    def order(self, plan: StagePlan) -> Order:
        """Which records are in which batch of the stage."""
        return Order(
            seed=self._seed,
            num_examples=plan.num_examples,
            batch_size=plan.global_batch,
            num_epochs=plan.stage.epochs,
            first_epoch=plan.first_epoch,
            windows=windows_of(self._manifest.splits["train"]),
        )
