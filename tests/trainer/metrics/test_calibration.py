"""Reliability, expected calibration error and temperature."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.metrics.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    reliability_curve,
)
from trainer.metrics.classification import log_loss
from trainer.metrics.predictions import PredictionsError

seeds = st.integers(0, 2**32 - 1)


def test_calibration_error_of_a_worked_example() -> None:
    # Two examples at 0.9 of which one is right, two at 0.6, both right:
    # (2 |0.5 - 0.9| + 2 |1 - 0.6|) / 4 = 0.4.
    probabilities = [[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]]
    curve = reliability_curve(probabilities, [0, 1, 0, 1], num_bins=10)
    assert expected_calibration_error(curve) == pytest.approx(0.4)


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 50), st.integers(1, 30))
def test_every_example_is_in_one_bin_that_spans_its_confidence(
    seed: int, num_examples: int, num_bins: int
) -> None:
    probabilities = np.random.default_rng(seed).dirichlet(np.full(4, 0.2), size=num_examples)
    curve = reliability_curve(probabilities, np.zeros(num_examples, int), num_bins)
    assert sum(part.num_examples for part in curve) == num_examples
    assert all(
        part.low - 1e-12 <= part.confidence <= part.high + 1e-12
        for part in curve
        if part.confidence is not None
    )


def test_confidence_of_exactly_one_is_in_the_last_bin() -> None:
    assert reliability_curve([[1.0, 0.0]], [0])[-1].num_examples == 1


@settings(max_examples=10, deadline=None)
@given(seeds, st.floats(0.3, 4))
def test_temperature_of_overheated_logits_is_found_again(seed: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(4000, 5))
    cumulated = apply_temperature(logits, 1.0).cumsum(axis=1)
    labels = (rng.uniform(size=(4000, 1)) > cumulated).sum(axis=1).clip(max=4)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.12)


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 40), st.integers(2, 8), st.floats(0.01, 30))
def test_temperature_never_raises_the_loss_it_was_fitted_on(
    seed: int, num_examples: int, num_classes: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=scale, size=(num_examples, num_classes))
    labels = rng.integers(0, num_classes, size=num_examples)
    fitted = fit_temperature(logits, labels)
    before = log_loss(apply_temperature(logits, 1.0), labels)
    assert log_loss(apply_temperature(logits, fitted), labels) <= before + 1e-9


def test_logarithms_of_probabilities_serve_as_logits() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), size=20)
    np.testing.assert_allclose(apply_temperature(np.log(probabilities), 1.0), probabilities)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [([[2.0, 0.0]], MIN_TEMPERATURE), ([[0.0, 2.0]], MAX_TEMPERATURE), ([[1.0, 1.0]], 1.0)],
    ids=["all right", "all wrong", "no information"],
)
def test_temperature_without_an_inner_minimum_is_at_the_border(
    logits: list[list[float]], expected: float
) -> None:
    assert fit_temperature(logits, [0]) == expected


def test_huge_logits_do_not_overflow() -> None:
    np.testing.assert_array_equal(apply_temperature([[1e30, 0.0]], 0.05), [[1, 0]])


def test_infinite_logits_are_refused() -> None:
    with pytest.raises(PredictionsError, match="clip"):
        fit_temperature([[0.0, -np.inf]], [0])
