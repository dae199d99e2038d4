"""The bootstrap interval of an accuracy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.metrics.interval import bootstrap_accuracy_interval


def test_interval_equals_resampling_the_outcomes_one_by_one() -> None:
    outcomes = np.repeat([1, 0], [170, 30])
    rng = np.random.default_rng(5)
    resampled = rng.choice(outcomes, size=(20_000, 200)).mean(axis=1)
    assert bootstrap_accuracy_interval(170, 200, num_resamples=20_000) == pytest.approx(
        tuple(np.quantile(resampled, [0.025, 0.975])), abs=0.0051
    )


@settings(deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_holds_the_measured_accuracy(counts: tuple[int, int]) -> None:
    num_correct, num_examples = counts
    low, high = bootstrap_accuracy_interval(num_correct, num_examples, num_resamples=500)
    assert 0 <= low <= num_correct / num_examples <= high <= 1


def test_interval_is_a_function_of_the_seed() -> None:
    intervals = {bootstrap_accuracy_interval(700, 1000, seed=seed) for seed in (1, 1, 2, 3, 4)}
    assert 1 < len(intervals) <= 4


def test_interval_of_a_perfect_score_has_a_width() -> None:
    z = 1.959964
    # Wilson's formula for a share of 1 of 9: its lower end is 9 / (9 + z^2).
    assert bootstrap_accuracy_interval(9, 9) == pytest.approx((9 / (9 + z**2), 1))
    assert bootstrap_accuracy_interval(0, 9) == pytest.approx((0, z**2 / (9 + z**2)))


@pytest.mark.parametrize("counts", [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="correct"):
        bootstrap_accuracy_interval(*counts)
