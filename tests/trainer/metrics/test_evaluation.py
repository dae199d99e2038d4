"""The object that holds all metrics of a split."""

import json

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainer.metrics import PredictionsError, evaluate_predictions


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


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_confusion_matrix_agrees_with_scikit_learn(examples: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.3), size=examples)
    labels = rng.integers(0, classes, size=examples)
    names = [str(name) for name in range(classes)]
    np.testing.assert_array_equal(
        evaluate_predictions(probabilities, labels, names).confusion_matrix(),
        sk.confusion_matrix(labels, probabilities.argmax(axis=1), labels=range(classes)),
    )


def test_json_of_10000_classes_does_not_hold_the_square_of_them() -> None:
    probabilities = np.full((3, 10_000), 1e-4)
    evaluation = evaluate_predictions(probabilities, [0, 1, 9999], [str(i) for i in range(10_000)])
    assert len(evaluation.to_json()["confusion"]) == 3


def test_class_names_must_fit_the_columns() -> None:
    with pytest.raises(PredictionsError, match="7 columns"):
        evaluate_predictions(*_predictions(), NAMES[:5])
