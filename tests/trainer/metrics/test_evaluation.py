"""The object that holds all metrics of a split."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.metrics import PredictionsError, evaluate_predictions
from trainer.metrics.classification import confusion_matrix, predicted_classes


def _predictions(num_examples: int = 50) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.full(7, 0.3), size=num_examples).astype(np.float32)
    return probabilities, rng.integers(0, 6, size=num_examples)


NAMES = tuple("abcdefg")


def test_evaluation_is_the_same_to_the_last_digit_in_any_order() -> None:
    probabilities, labels = _predictions()
    order = np.random.default_rng(0).permutation(len(labels))
    assert evaluate_predictions(probabilities, labels, NAMES) == evaluate_predictions(
        probabilities[order], labels[order], NAMES
    )


def test_evaluation_survives_json() -> None:
    document = evaluate_predictions(*_predictions(), NAMES).to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == json.loads(json.dumps(document))
    assert [entry["name"] for entry in document["per_class"]] == list(NAMES)
    assert document["per_class"][6]["recall"] is None


def test_sparse_confusion_unfolds_to_the_matrix() -> None:
    probabilities, labels = _predictions()
    np.testing.assert_array_equal(
        evaluate_predictions(probabilities, labels, NAMES).confusion_matrix(),
        confusion_matrix(predicted_classes(probabilities), labels, 7),
    )


def test_json_of_10000_classes_does_not_hold_the_square_of_them() -> None:
    probabilities = np.full((3, 10_000), 1e-4)
    evaluation = evaluate_predictions(probabilities, [0, 1, 9999], [str(i) for i in range(10_000)])
    assert len(evaluation.to_json()["confusion"]) == 3


def test_class_names_must_fit_the_columns() -> None:
    with pytest.raises(PredictionsError, match="7 columns"):
        evaluate_predictions(*_predictions(), NAMES[:5])
