"""Figures of an evaluation: drawn without a screen, legible for any number of classes."""

import dataclasses

import numpy as np
import pytest

from trainer.metrics import Evaluation, apply_temperature, evaluate_predictions
from trainer.report.evaluation_figures import (
    classes_to_show,
    confusion_figure,
    reliability_figure,
)

pytest.importorskip("matplotlib")


def some_evaluation(num_classes: int, temperature: float = 1.0) -> Evaluation:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, 200)
    logits = rng.normal(size=(200, num_classes))
    logits[np.arange(200), labels] += 3
    names = [f"class {index}" for index in range(num_classes)]
    return evaluate_predictions(apply_temperature(logits, temperature), labels, names)


@pytest.mark.parametrize("num_classes", [2, 10, 300])
def test_confusion_is_a_picture_of_bounded_size(num_classes: int) -> None:
    picture = confusion_figure(some_evaluation(num_classes))
    height, width, channels = picture.shape
    assert picture.dtype == np.uint8
    assert channels == 3
    assert 300 <= height <= 1600
    assert 300 <= width <= 1700
    assert picture.std() > 10


def test_classes_may_be_called_anything() -> None:
    shapes = {
        confusion_figure(dataclasses.replace(some_evaluation(3), class_names=names)).shape
        for names in (("class 0", "class 1", "class 2"), ("$5_$", r"$\oops$", "\u8f7f\u8f66"))
    }
    assert len(shapes) == 1


def test_confusion_of_other_predictions_is_another_picture() -> None:
    right = some_evaluation(10)
    rng = np.random.default_rng(1)
    random = evaluate_predictions(
        rng.dirichlet(np.ones(10), 200), rng.integers(0, 10, 200), right.class_names
    )
    assert (confusion_figure(right) != confusion_figure(random)).any()


def test_classes_with_most_mistakes_are_shown_in_their_order() -> None:
    worst = [3, 50, 77]
    labels = np.repeat([*range(100), *worst], 9)
    predicted = np.repeat([*range(100), *(index + 1 for index in worst)], 9)
    evaluation = evaluate_predictions(np.eye(100)[predicted], labels, [str(n) for n in range(100)])
    shown = classes_to_show(evaluation, 40)
    assert len(shown) == 40
    assert {*worst, *(index + 1 for index in worst)} <= set(shown)
    assert shown == sorted(shown)
    assert classes_to_show(evaluation, 100) == list(range(100))
    matrix = evaluation.confusion_matrix()
    np.testing.assert_array_equal(evaluation.confusion_matrix(shown), matrix[np.ix_(shown, shown)])


def test_reliability_shows_both_curves() -> None:
    sharp, flat = some_evaluation(5, 0.4), some_evaluation(5, 3.0)
    picture = reliability_figure(sharp, flat)
    assert picture.shape == (700, 600, 3)
    assert (picture != reliability_figure(sharp, sharp)).any()
