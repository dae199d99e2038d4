"""The compiled step of an evaluation, and results joined over the replicas."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.augment.batch import evaluation_batch
from trainer.augment.config import IDENTITY, View
from trainer.devices import num_workers
from trainer.engine.steps import Batch


class EvaluationStep:
    """`run(batch)` gives logits and labels: dropout off, moving statistics, evaluation geometry."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        network: Any,
        augmentation: Any,
        image_px: int,
        view: View = IDENTITY,
    ):
        def replica_step(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
            images = evaluation_batch(
                batch.canvases, batch.aspects, augmentation, image_px, view=view
            )
            return tf.cast(network(images, training=False), tf.float32), batch.labels

        self._step = gathered(strategy, replica_step)

    def run(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """(logits float32 [rows over all replicas, K], labels int32 [rows]).

        In row order, the same on every worker, which by itself has read only its own rows.
        """
        logits, labels = self._step(batch)
        return logits.numpy(), labels.numpy()


def gathered(
    strategy: tf.distribute.Strategy, replica_step: Callable[[Batch], tuple[tf.Tensor, ...]]
) -> Callable[[Batch], tuple[tf.Tensor, ...]]:
    """Compiles a step over a distributed batch; its results are joined over all replicas, axis 0.

    Joined inside the compiled function: outside, several workers trace it anew for each batch
    (0.2 s). One worker needs no collective for it, and a compiled one would keep every other
    strategy of the process from running ("joining a group with size 4, but that group has size 2").
    """
    one_worker = num_workers(strategy) == 1

    def step(batch: Batch) -> tuple[tf.Tensor, ...]:
        results = strategy.run(replica_step, args=(batch,))
        if one_worker:
            return tuple(tf.concat(strategy.experimental_local_results(r), 0) for r in results)
        return tuple(strategy.gather(result, axis=0) for result in results)

    compiled: Callable[[Batch], tuple[tf.Tensor, ...]] = tf.function(step, autograph=False)
    return compiled
