"""Metrics against scikit-learn's, on random and on hostile predictions."""

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from trainer.metrics.classification import (
    accuracy,
    balanced_accuracy,
    class_scores,
    log_loss,
    macro_f1,
    predicted_classes,
    top_k_accuracy,
)
from trainer.metrics.predictions import PredictionsError

Predictions = tuple[NDArray[np.floating], NDArray[np.int64]]


def _predictions(
    seed: int, num_examples: int, num_classes: int, ties: bool, dtype: type
) -> Predictions:
    rng = np.random.default_rng(seed)
    if ties:
        # Few distinct values, whole rows of equal ones and hard zeros among them.
        raw = rng.integers(0, 3, size=(num_examples, num_classes)).astype(float)
        raw[raw.sum(axis=1) == 0] = 1
    else:
        raw = rng.dirichlet(np.full(num_classes, 0.3), size=num_examples)
    probabilities = (raw / raw.sum(axis=1, keepdims=True)).astype(dtype)
    # Squared uniform numbers: low classes often, some classes never.
    labels = (rng.uniform(size=num_examples) ** 2 * num_classes).astype(np.int64)
    return probabilities, labels


random_predictions = st.builds(
    _predictions,
    seed=st.integers(0, 2**32 - 1),
    num_examples=st.one_of(st.just(1), st.integers(2, 60)),
    num_classes=st.one_of(st.just(2), st.integers(3, 25)),
    ties=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
HUGE = _predictions(7, 40, 10_000, ties=False, dtype=np.float32)
HUGE_TIES = _predictions(8, 40, 10_000, ties=True, dtype=np.float64)


def _quiet(function: Callable[..., float], *args: object, **kwargs: object) -> float:
    """Calls scikit-learn, which warns about the hostile cases that are meant here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(*args, **kwargs))


def _assert_agrees(predictions: Predictions) -> None:
    probabilities, labels = predictions
    num_classes = probabilities.shape[1]
    predicted = predicted_classes(probabilities)
    scores = class_scores(predicted, labels, num_classes)
    top_k = {} if num_classes == 2 else {"labels": range(num_classes)}
    close = pytest.approx
    assert log_loss(probabilities, labels) == close(
        _quiet(sk.log_loss, labels, probabilities, labels=range(num_classes)), abs=1e-6, rel=1e-6
    )
    assert accuracy(predicted, labels) == close(_quiet(sk.accuracy_score, labels, predicted))
    if top_k:
        for k in (1, 2, 5):
            expected = _quiet(sk.top_k_accuracy_score, labels, probabilities, k=k, **top_k)
            assert top_k_accuracy(probabilities, labels, k) == close(expected, abs=1e-6)
    assert balanced_accuracy(scores) == close(
        _quiet(sk.balanced_accuracy_score, labels, predicted), abs=1e-6
    )
    assert macro_f1(scores) == close(
        _quiet(sk.f1_score, labels, predicted, average="macro"), abs=1e-6
    )
    expected_columns = sk.precision_recall_fscore_support(
        labels, predicted, labels=range(num_classes), zero_division=np.nan
    )
    ours = np.array(
        [[s.precision, s.recall, s.f1, s.support] for s in scores], dtype=float
    )  # None becomes NaN
    np.testing.assert_allclose(ours, np.stack(expected_columns, axis=1).astype(float), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(random_predictions)
def test_metrics_agree_with_scikit_learn(predictions: Predictions) -> None:
    _assert_agrees(predictions)


@pytest.mark.parametrize("predictions", [HUGE, HUGE_TIES], ids=["random", "ties"])
def test_metrics_agree_with_scikit_learn_on_10000_classes(predictions: Predictions) -> None:
    _assert_agrees(predictions)


@settings(max_examples=30, deadline=None)
@given(random_predictions, st.integers(0, 2**32 - 1))
def test_log_loss_does_not_depend_on_the_order_of_examples(
    predictions: Predictions, seed: int
) -> None:
    probabilities, labels = predictions
    order = np.random.default_rng(seed).permutation(len(labels))
    assert log_loss(probabilities[order], labels[order]) == log_loss(probabilities, labels)


@pytest.mark.parametrize(("dtype", "worst"), [(np.float32, 15.9424), (np.float64, 36.0437)])
def test_log_loss_of_an_impossible_label_is_clipped(dtype: type, worst: float) -> None:
    assert log_loss(np.array([[1, 0]], dtype), [1]) == pytest.approx(worst, abs=1e-4)


def test_top_k_is_one_when_k_reaches_the_number_of_classes() -> None:
    assert top_k_accuracy([[0.2, 0.3, 0.5]] * 3, [0, 1, 2], k=5) == 1


def test_one_predicted_class_leaves_the_others_without_precision() -> None:
    scores = class_scores([0, 0], [0, 1], num_classes=3)
    assert [score.precision for score in scores] == [0.5, None, None]
    assert [score.recall for score in scores] == [1.0, 0.0, None]
    assert [score.f1 for score in scores] == [pytest.approx(2 / 3), 0.0, None]


@pytest.mark.parametrize(
    ("probabilities", "labels", "words"),
    [
        ([[0.5, 0.5]], [-1], "no label"),
        ([[0.5, 0.5]], [2], r"0\.\.1"),
        ([[0.5, 0.5]], [0.0], "float64"),
        ([[0.5, 0.5]], [0, 1], "2 labels"),
        ([[math.nan, 0.5]], [0], "diverged"),
        ([[3.0, -2.0]], [0], "softmax"),
        ([[0.9, 0.9]], [0], "softmax"),
        ([[1.0]], [0], "two classes"),
        (np.zeros((0, 2)), np.zeros(0, int), "at least one example"),
    ],
)
def test_unusable_predictions_are_refused(
    probabilities: object, labels: object, words: str
) -> None:
    with pytest.raises(PredictionsError, match=words):
        log_loss(probabilities, labels)  # type: ignore[arg-type]
