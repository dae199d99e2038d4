"""Kept features of a frozen network: a head trains on them as if they came from the photos."""

from typing import Any

import numpy as np
import tensorflow as tf

from trainer.augment.batch import augment_batch
from trainer.engine.evaluation_step import gathered
from trainer.engine.steps import Batch
from trainer.input.canvases import Canvases, CanvasRows
from trainer.input.feed import data_errors_told, distribute, replica_rows
from trainer.order import BatchRows
from trainer.plan import StagePlan


class FeatureViews:
    """Pooled features of every training photo under K augmented views, float32 [K, N, F].

    Towards the feed it is what `Canvases` is: epoch e of the stage sees view e mod K.
    """

    dtype = np.float32

    def __init__(self, features: np.ndarray, labels: np.ndarray, first_epoch: int):
        self._features = features
        self._labels = labels
        self._first_epoch = first_epoch
        self.num_examples = features.shape[1]
        self.row_shape = (features.shape[2],)

    def gather(self, indices: np.ndarray, epochs: np.ndarray | None = None) -> CanvasRows:
        """Rows of some examples, int64 [B], as seen in these epochs, int64 [B], or the first."""
        epochs = np.full_like(indices, self._first_epoch) if epochs is None else epochs
        views = (epochs - self._first_epoch) % len(self._features)
        return CanvasRows(
            images=self._features[views, indices],
            aspects=np.ones(len(indices), np.float32),
            labels=self._labels[indices],
        )


def compute_feature_views(
    strategy: tf.distribute.Strategy, frozen: Any, canvases: Canvases, plan: StagePlan, seed: int
) -> FeatureViews:
    """Runs the frozen network once over `cache_feature_views` augmented views of each photo.

    View k shows just what epoch k of the stage would show without keeping: same seeds, same pixels.
    """
    stage, num_examples = plan.stage, canvases.num_examples
    num_steps = -(-num_examples // plan.global_batch)

    def replica_step(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        no_labels = tf.zeros([plan.replica_batch, 1])
        images, _ = augment_batch(
            batch.canvases,
            batch.aspects,
            no_labels,
            batch.seeds,
            stage.augmentation,
            stage.image_px,
        )
        return tf.cast(frozen(images, training=False), tf.float32), batch.labels

    step = gathered(strategy, replica_step)

    def view(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        def rows(number: int, replica: int) -> tuple[np.ndarray, ...]:
            positions = np.arange(number * plan.global_batch, (number + 1) * plan.global_batch)
            real = positions < num_examples
            batch = BatchRows(
                indices=np.where(real, positions, 0),
                epochs=np.full(len(positions), epoch),
                weights=real.astype(np.float32),
            )
            return replica_rows(canvases, batch, plan, seed, replica)

        feed = distribute(strategy, rows, plan.replica_batch, canvases, 0, num_steps)
        with data_errors_told():
            features, labels = zip(*(step(batch) for batch in feed), strict=True)
        return join(features), join(labels)

    def join(parts: tuple[tf.Tensor, ...]) -> np.ndarray:
        # Rows behind the global batch are padding of the replicas, not examples.
        return np.concatenate([part.numpy()[: plan.global_batch] for part in parts])[:num_examples]

    views = [view(plan.first_epoch + number) for number in range(stage.cache_feature_views)]
    return FeatureViews(
        np.stack([features for features, _ in views]), views[0][1], plan.first_epoch
    )
