"""Logits of a whole split, every example exactly once whatever the batch size."""

from typing import Any

import numpy as np
import tensorflow as tf

from trainer.augment.config import IDENTITY, Augmentation, View
from trainer.engine.steps import EvaluationStep
from trainer.input.canvases import Examples
from trainer.input.feed import evaluation_feed

MAX_REPLICA_BATCH = 64


def evaluation_batch_of(num_examples: int, num_replicas: int, train_batch: int) -> int:
    """Rows per replica: what training holds fits evaluation too; more only where it is small."""
    return max(1, min(max(train_batch, 32), MAX_REPLICA_BATCH, -(-num_examples // num_replicas)))


class Evaluator:
    """Runs a network over splits in the evaluation geometry; compiled once, used every epoch.

    Args:
        model: pixels to logits.
        augmentation: holds the geometry and what is always on.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: Any,
        augmentation: Augmentation,
        image_px: int,
        replica_batch: int,
        view: View = IDENTITY,
    ):
        self._strategy = strategy
        self._step = EvaluationStep(strategy, model, augmentation, image_px, view)
        self._replica_batch = replica_batch

    def logits(self, canvases: Examples) -> np.ndarray:
        """float32 [N, K] in the order of the records."""
        return self.logits_and_labels(canvases)[0]

    def logits_and_labels(self, canvases: Examples) -> tuple[np.ndarray, np.ndarray]:
        """(float32 [N, K], int32 [N]) in the order of the records, the same on every worker."""
        feed = evaluation_feed(self._strategy, canvases, self._replica_batch)
        logits, labels = zip(*(self._step.run(batch) for batch in feed), strict=True)
        num = canvases.num_examples
        return np.concatenate(logits)[:num], np.concatenate(labels)[:num]


def loss_and_accuracy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy and share of right answers; float64 sums in record order."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return float(losses.mean()), float((logits.argmax(axis=1) == labels).mean())
