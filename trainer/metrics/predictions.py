"""What every metric is computed from: probabilities [N, K] and labels [N], checked once.

Shapes: N examples, K classes.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tfrecords_builder.errors import UserError

# A softmax computed in bfloat16 misses 1 by up to about 1/256; logits or sigmoids miss it by far.
ROW_SUM_TOLERANCE = 1e-2


class PredictionsError(UserError, ValueError):
    """Probabilities or labels of which no metric can be computed."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """float64 probabilities [..., K] of logits [..., K]."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def check_labels(labels: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """Labels as int64 [N], each in [0, num_classes).

    Raises:
      PredictionsError: Empty, not one-dimensional, not whole numbers, or outside of the classes
        (-1 marks an example without a label: such a split can be predicted, not evaluated).
    """
    array = np.asarray(labels)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise PredictionsError(
            f"labels are {array.dtype} of shape {array.shape}; at least one whole number in one "
            "dimension is needed; evaluate a split that holds labelled examples"
        )
    wrong = np.flatnonzero((array < 0) | (array >= num_classes))
    if wrong.size:
        raise PredictionsError(
            f"{wrong.size} of {array.size} labels are outside of 0..{num_classes - 1} (first: "
            f"{array[wrong[0]]} of example {wrong[0]}); every example needs the index of its "
            "class; -1 means no label: predict such a split instead of evaluating it"
        )
    return array.astype(np.int64)


def check_probabilities(probabilities: ArrayLike) -> NDArray[np.floating]:
    """Probabilities as a floating, C-contiguous [N, K], K >= 2; the dtype is kept.

    Raises:
      PredictionsError: Wrong shape, not finite, below 0, or rows that do not sum to 1.
    """
    array = np.asarray(probabilities)
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] < 2:
        raise PredictionsError(
            f"probabilities have shape {array.shape}; [examples, classes] with at least one "
            "example and two classes is needed; check what was predicted"
        )
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise PredictionsError(
            f"the probabilities of {np.count_nonzero(~finite)} of {len(array)} examples are not "
            f"finite (first: example {np.flatnonzero(~finite)[0]}); the model has diverged: "
            "evaluate an earlier checkpoint or lower the learning rate"
        )
    sums = array.sum(axis=1, dtype=np.float64)
    if array.min() < 0 or np.abs(sums - 1).max() > ROW_SUM_TOLERANCE:
        raise PredictionsError(
            f"values from {array.min():.4g} to {array.max():.4g}, rows sum to {sums.min():.4g} to "
            f"{sums.max():.4g}; probabilities are needed; apply softmax to logits first"
        )
    return np.ascontiguousarray(array)


def check_predictions(
    probabilities: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Both checked, and of one length.

    Raises:
      PredictionsError: Any of the checks of `check_probabilities` and `check_labels`.
    """
    checked = check_probabilities(probabilities)
    checked_labels = check_labels(labels, checked.shape[1])
    if len(checked) != len(checked_labels):
        raise PredictionsError(
            f"{len(checked)} rows of probabilities but {len(checked_labels)} labels; one label a "
            "row is needed; check that padding was dropped from both"
        )
    return checked, checked_labels
