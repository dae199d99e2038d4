"""Logits of a whole split, every example exactly once whatever the batch size."""

from typing import Any

import numpy as np
import tensorflow as tf

from trainer.augment.config import IDENTITY, Augmentation, View
from trainer.engine.steps import EvaluationStep
from trainer.input.canvases import Canvases
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

    def logits(self, canvases: Canvases) -> np.ndarray:
        """float32 [N, K] in the order of the records."""
        feed = evaluation_feed(self._strategy, canvases, self._replica_batch)
        rows = [self._step.run(batch) for batch in feed]
        return np.concatenate(rows)[: canvases.num_examples]


def loss_and_accuracy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy and share of right answers; float64 sums in record order."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return float(losses.mean()), float((logits.argmax(axis=1) == labels).mean())
