"""Which labels are probably wrong: confident learning, from predictions alone.

Source: Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels,
Journal of Artificial Intelligence Research 70 (2021), sections 3.1 and 3.2 (arXiv 1911.00068).

The photos must not have been trained on: a network that has learned a wrong label repeats it.
Shapes: N examples, K classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from trainer.metrics.predictions import check_predictions


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelSuspect:
    """An example whose label is probably wrong."""

    index: int
    label: int
    suggested: int
    """The class that it is confidently counted to."""
    label_probability: float
    suggested_probability: float


def find_label_errors(probabilities: ArrayLike, labels: ArrayLike) -> tuple[LabelSuspect, ...]:
    """The examples off the diagonal of the confident joint, the most suspect first.

    An example counts to class j if its p[j] is at least the mean p[j] of the examples labelled j,
    and of several such classes to the most probable one. It is suspect if that is not its label.
    The order is that of the normalised margin, p[label] - p[suggested].

    Args:
      probabilities: [N, K], rows sum to 1.
      labels: [N], class indices. A class without examples is never suggested.

    Raises:
      PredictionsError: Probabilities or labels that cannot be used.
    """
    checked, checked_labels = check_predictions(probabilities, labels)
    values = checked.astype(np.float64)
    num_classes = values.shape[1]
    thresholds = np.full(num_classes, np.inf)
    for name in np.unique(checked_labels):
        thresholds[name] = values[checked_labels == name, name].mean()
    confident = np.where(values >= thresholds - 1e-12, values, -1.0)
    suggested = confident.argmax(axis=1)
    rows = np.arange(len(values))
    suspect = (confident.max(axis=1) >= 0) & (suggested != checked_labels)
    margin = values[rows, checked_labels] - values[rows, suggested]
    order = np.argsort(margin, kind="stable")
    return tuple(
        LabelSuspect(
            index=int(index),
            label=int(checked_labels[index]),
            suggested=int(suggested[index]),
            label_probability=float(values[index, checked_labels[index]]),
            suggested_probability=float(values[index, suggested[index]]),
        )
        for index in order
        if suspect[index]
    )
