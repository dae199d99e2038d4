"""Logits of a whole split, every example exactly once whatever the batch size."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.augment.config import IDENTITY, Augmentation, View
from trainer.engine.evaluation_step import EvaluationStep
from trainer.input.canvases import Examples
from trainer.input.feed import data_errors_told, evaluation_feed, in_index_order
from trainer.metrics.classification import accuracy, log_loss, predicted_classes
from trainer.metrics.predictions import softmax

EVALUATION_ROWS = 32
"""Rows that a replica computes at a time, always: short batches are padded. The kernels that a
library picks, and with them the last bits of a logit, depend on the number of rows
(EfficientNetV2-B0 at 64 px on a CPU: one row at a time gives logits that are up to 4e-7 off). The
row's place and its neighbours made no difference."""


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
        with data_errors_told():
            logits, labels = zip(*(self._step.run(batch) for batch in feed), strict=True)
        num = canvases.num_examples
        return (
            in_index_order(self._strategy, logits, num),
            in_index_order(self._strategy, labels, num),
        )


def loss_and_accuracy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """(log loss, accuracy) as `trainer.evaluate` computes them; the loss of a diverged network is
    not a number.
    """
    if not np.isfinite(logits).all():
        return math.nan, accuracy(predicted_classes(logits), labels)
    probabilities = softmax(logits)
    return log_loss(probabilities, labels), accuracy(predicted_classes(probabilities), labels)
