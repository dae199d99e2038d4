"""Does a probability mean what it says? N examples, K classes.

Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (arXiv 1706.04599).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.metrics.predictions import PredictionsError, check_labels, check_predictions

MIN_TEMPERATURE = 0.05
MAX_TEMPERATURE = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """Examples whose confidence (probability of the predicted class) is in (low, high]."""

    low: float
    high: float
    num_examples: int
    accuracy: float | None
    """Share predicted rightly, in [0, 1]; None for an empty bin."""
    confidence: float | None
    """Mean confidence, in [0, 1]; None for an empty bin."""


def reliability_curve(
    probabilities: ArrayLike, labels: ArrayLike, num_bins: int = 15
) -> tuple[ReliabilityBin, ...]:
    """`num_bins` bins of equal width over (0, 1], empty ones included."""
    checked, checked_labels = check_predictions(probabilities, labels)
    confidence = checked.max(axis=1).astype(np.float64)
    correct = checked.argmax(axis=1) == checked_labels
    edges = np.linspace(0, 1, num_bins + 1)
    bin_of = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    bins = []
    for index in range(num_bins):
        members = bin_of == index
        count = int(np.count_nonzero(members))
        bins.append(
            ReliabilityBin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                num_examples=count,
                accuracy=int(np.count_nonzero(correct[members])) / count if count else None,
                confidence=math.fsum(confidence[members]) / count if count else None,
            )
        )
    return tuple(bins)


def expected_calibration_error(curve: tuple[ReliabilityBin, ...]) -> float:
    """Mean of |accuracy - confidence| over the examples of a reliability curve, in [0, 1]."""
    total = sum(part.num_examples for part in curve)
    gaps = [
        part.num_examples * abs(part.accuracy - part.confidence)
        for part in curve
        if part.accuracy is not None and part.confidence is not None
    ]
    return math.fsum(gaps) / total


def apply_temperature(logits: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """softmax(logits / temperature), float64 [N, K]. Logarithms of probabilities serve as logits.

    The predicted classes stay as they are; above 1 the probabilities get flatter.
    """
    if not temperature > 0:
        raise ValueError(
            f"temperature is {temperature}; it must be above 0; fit_temperature gives one"
        )
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature in [0.05, 20] under which the logits [N, K] give the lowest log loss.

    Fit it on validation, apply it elsewhere. The loss is convex in 1 / temperature, so bisecting
    its slope finds the one minimum; where every example is right (or the logits say nothing) the
    minimum lies at a border and the border is returned.

    Raises:
      PredictionsError: Logits that are not finite [N, K], or labels that do not fit them.
    """
    values = np.asarray(logits, np.float64)
    if values.ndim != 2 or values.shape[1] < 2 or not np.isfinite(values).all():
        raise PredictionsError(
            f"logits of shape {values.shape}, finite: {bool(np.isfinite(values).all())}; finite "
            "[examples, classes] are needed; clip probabilities before taking their logarithm"
        )
    checked_labels = check_labels(labels, values.shape[1])
    # Shifted by the row's label: the loss is then logsumexp(z / T), and its slope in 1 / T is the
    # expected z under the softmax.
    shifted = values - values[np.arange(len(values)), checked_labels][:, None]

    def slope(inverse: float) -> float:
        expected = (apply_temperature(shifted, 1 / inverse) * shifted).sum(axis=1)
        return math.fsum(expected)

    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    if not slope(low) < 0:
        # Flat (all logits equal) as well as rising: no sharpening is justified by the data.
        return 1.0 if slope(1.0) == 0 else MAX_TEMPERATURE
    if slope(high) <= 0:
        return MIN_TEMPERATURE
    for _ in range(60):
        middle = math.sqrt(low * high)
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
    return 1 / math.sqrt(low * high)
