"""Everything that is said about a model on one split, in one object."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.metrics.calibration import (
    ReliabilityBin,
    expected_calibration_error,
    reliability_curve,
)
from trainer.metrics.classification import (
    ClassScores,
    accuracy,
    balanced_accuracy,
    class_scores,
    log_loss,
    macro_f1,
    predicted_classes,
    top_k_accuracy,
)
from trainer.metrics.interval import bootstrap_accuracy_interval
from trainer.metrics.predictions import PredictionsError, check_predictions


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """How often examples of class `label` were predicted as class `predicted`; count >= 1."""

    label: int
    predicted: int
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Metrics of one model on one split; shares are in [0, 1], the loss in nats."""

    num_examples: int
    num_correct: int
    class_names: tuple[str, ...]
    log_loss: float
    top_1: float
    top_1_interval: tuple[float, float]
    """95 %, see `bootstrap_accuracy_interval`."""
    top_5: float
    balanced_accuracy: float
    macro_f1: float
    ece: float
    """Expected calibration error over the bins of `reliability`."""
    reliability: tuple[ReliabilityBin, ...]
    per_class: tuple[ClassScores, ...]
    """In the order of `class_names`."""
    confusion: tuple[Confusion, ...]
    """The cells of the confusion matrix that are not zero, by label and predicted class: at most
    one an example, so 10,000 classes do not make 100 million numbers."""

    def confusion_matrix(self, classes: Sequence[int] | None = None) -> NDArray[np.int64]:
        """Counts, int64 [k, k]; the row is the label, the column the predicted class.

        Args:
          classes: k of the K classes, in the order wanted; all by default.
        """
        chosen = range(len(self.class_names)) if classes is None else classes
        place = {index: number for number, index in enumerate(chosen)}
        matrix = np.zeros((len(place), len(place)), np.int64)
        for cell in self.confusion:
            if cell.label in place and cell.predicted in place:
                matrix[place[cell.label], place[cell.predicted]] = cell.count
        return matrix

    def num_mistakes(self) -> NDArray[np.int64]:
        """Wrong predictions that each class had a part in, as label or prediction; int64 [K]."""
        mistakes = np.zeros(len(self.class_names), np.int64)
        for cell in self.confusion:
            if cell.label != cell.predicted:
                mistakes[[cell.label, cell.predicted]] += cell.count
        return mistakes

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and None: what `json.dumps(allow_nan=False)` takes.

        `per_class` entries carry their class name; everything else is named as in this class.
        """
        document = asdict(self)
        for name, entry in zip(self.class_names, document["per_class"], strict=True):
            entry["name"] = name
        return {key: list(v) if isinstance(v, tuple) else v for key, v in document.items()}


def evaluate_predictions(
    probabilities: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str],
    *,
    num_bins: int = 15,
    seed: int = 0,
) -> Evaluation:
    """Evaluates predictions of a whole split.

    Args:
      probabilities: [N, K], rows sum to 1; no padding left in it.
      labels: [N], class indices.
      class_names: The K names.
      num_bins: Bins of the reliability curve.
      seed: Of the bootstrap.

    Returns:
      The same Evaluation to the last digit for the same rows in any order.

    Raises:
      PredictionsError: Predictions of which no metric can be computed.
    """
    checked, checked_labels = check_predictions(probabilities, labels)
    if len(class_names) != checked.shape[1]:
        raise PredictionsError(
            f"{checked.shape[1]} columns of probabilities but {len(class_names)} class names; one "
            "column a class is needed; evaluate with the data set the model was trained on"
        )
    predicted = predicted_classes(checked)
    scores = class_scores(predicted, checked_labels, len(class_names))
    curve = reliability_curve(checked, checked_labels, num_bins)
    num_correct = int(np.count_nonzero(predicted == checked_labels))
    return Evaluation(
        num_examples=len(checked),
        num_correct=num_correct,
        class_names=tuple(class_names),
        log_loss=log_loss(checked, checked_labels),
        top_1=accuracy(predicted, checked_labels),
        top_1_interval=bootstrap_accuracy_interval(num_correct, len(checked), seed=seed),
        top_5=top_k_accuracy(checked, checked_labels, 5),
        balanced_accuracy=balanced_accuracy(scores),
        macro_f1=macro_f1(scores),
        ece=expected_calibration_error(curve),
        reliability=curve,
        per_class=scores,
        confusion=_confusion(predicted, checked_labels, len(class_names)),
    )


def _confusion(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int
) -> tuple[Confusion, ...]:
    cells, counts = np.unique(labels * num_classes + predicted, return_counts=True)
    return tuple(
        Confusion(label=cell // num_classes, predicted=cell % num_classes, count=count)
        for cell, count in zip(cells.tolist(), counts.tolist(), strict=True)
    )
