"""Metrics of a classifier over the whole data set at once; scikit-learn's definitions.

N examples, K classes. Sums over examples are exactly rounded (`math.fsum`) or counted in integers,
so no result depends on the order of the examples or on the batches they came in.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.metrics.predictions import check_labels, check_predictions


def example_log_losses(probabilities: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """-log p[label] of each example, float64 [N], in nats, >= 0.

    Probabilities are clipped to [eps, 1 - eps] of their own dtype, as `sklearn.metrics.log_loss`
    does: the worst loss of an example is 15.9 for float32 and 36.0 for float64, never infinite.
    """
    checked, checked_labels = check_predictions(probabilities, labels)
    eps = float(np.finfo(checked.dtype).eps)
    chosen = checked[np.arange(len(checked)), checked_labels].astype(np.float64)
    losses: NDArray[np.float64] = -np.log(np.clip(chosen, eps, 1 - eps))
    return losses


def log_loss(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean of `example_log_losses`, in nats."""
    losses = example_log_losses(probabilities, labels)
    return math.fsum(losses) / len(losses)


def top_k_accuracy(probabilities: ArrayLike, labels: ArrayLike, k: int) -> float:
    """Share of examples whose label is among the k most probable classes, in [0, 1]; 1 for k >= K.

    Of equal probabilities the class of the higher index counts as the more probable one, as in
    `sklearn.metrics.top_k_accuracy_score`. `accuracy` breaks ties the other way, as `argmax` does.
    """
    if k < 1:
        raise ValueError(f"k is {k}; at least 1 is needed; give 5 for top-5")
    checked, checked_labels = check_predictions(probabilities, labels)
    chosen = checked[np.arange(len(checked)), checked_labels][:, None]
    later = np.arange(checked.shape[1])[None, :] > checked_labels[:, None]
    rank = np.count_nonzero((checked > chosen) | ((checked == chosen) & later), axis=1)
    return int(np.count_nonzero(rank < k)) / len(checked)


def predicted_classes(probabilities: ArrayLike) -> NDArray[np.int64]:
    """Index of the most probable class, int64 [N]; the lowest index of equal ones."""
    return np.asarray(probabilities).argmax(axis=1).astype(np.int64)


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Share of predicted classes [N] equal to the labels [N], in [0, 1]."""
    equal = np.asarray(predicted) == np.asarray(labels)
    return int(np.count_nonzero(equal)) / len(equal)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassScores:
    """Precision, recall and F1 of one class, each in [0, 1]; None where it is 0 / 0."""

    precision: float | None
    """Of the examples predicted as this class, the share that is; None if none was predicted."""
    recall: float | None
    """Of the examples of this class, the share predicted as such; None if there are none."""
    f1: float | None
    """Harmonic mean of both; None if the class is neither among labels nor predictions."""
    support: int
    """Number of examples of this class."""
    num_predicted: int
    """Number of examples predicted as this class."""


def class_scores(
    predicted: ArrayLike, labels: ArrayLike, num_classes: int
) -> tuple[ClassScores, ...]:
    """Scores of each of the K classes, in the order of the classes."""
    checked, guesses = check_labels(labels, num_classes), check_labels(predicted, num_classes)
    support = np.bincount(checked, minlength=num_classes).tolist()
    num_predicted = np.bincount(guesses, minlength=num_classes).tolist()
    hits = np.bincount(checked[checked == guesses], minlength=num_classes).tolist()
    return tuple(
        ClassScores(
            precision=_ratio(hit, guessed),
            recall=_ratio(hit, true),
            f1=_ratio(2 * hit, true + guessed),
            support=true,
            num_predicted=guessed,
        )
        for hit, true, guessed in zip(hits, support, num_predicted, strict=True)
    )


def balanced_accuracy(scores: tuple[ClassScores, ...]) -> float:
    """Mean recall over the classes that have examples, in [0, 1]."""
    return _mean([score.recall for score in scores])


def macro_f1(scores: tuple[ClassScores, ...]) -> float:
    """Mean F1 over the classes found among labels or predictions, in [0, 1]."""
    return _mean([score.f1 for score in scores])


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None


def _mean(values: list[float | None]) -> float:
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined)
