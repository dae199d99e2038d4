"""Averages of runs and views: never worse than none, kept only beyond noise."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainer.metrics import PredictionsError
from trainer.metrics.choice import Candidate, choose, choose_ensemble, choose_views
from trainer.metrics.classification import log_loss
from trainer.metrics.ensemble import Space, combine, fit_weights
from trainer.metrics.significance import mcnemar_p_value, paired_p_value

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(1, 4), st.integers(1, 80), st.integers(2, 6))


def _noisy_members(
    seed: int, num_members: int, num_examples: int, num_classes: int, signal: float = 1.5
) -> tuple[Floats, Ints]:
    """Members that see the label through noise of their own."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_examples)
    logits = rng.normal(scale=1.5, size=(num_members, num_examples, num_classes))
    logits[:, np.arange(num_examples), labels] += signal
    powers = np.exp(logits)
    return powers / powers.sum(axis=2, keepdims=True), labels


@settings(max_examples=40, deadline=None)
@given(seeds, sizes, st.sampled_from(Space))
def test_average_is_a_distribution_that_ignores_members_of_weight_0(
    seed: int, size: tuple[int, int, int], space: Space
) -> None:
    members, _ = _noisy_members(seed, *size)
    weights = np.ones(len(members) + 1)
    weights[-1] = 0
    other = np.full_like(members[:1], 1 / members.shape[2])
    mixed = combine(np.concatenate([members, other]), weights, space)
    np.testing.assert_allclose(mixed.sum(axis=1), 1)
    np.testing.assert_allclose(mixed, combine(members, None, space))


def test_average_of_logits_is_the_geometric_mean() -> None:
    mixed = combine([[[0.5, 0.5]], [[0.9, 0.1]]], space=Space.LOGITS)
    root = math.sqrt(0.5 * 0.9), math.sqrt(0.5 * 0.1)
    np.testing.assert_allclose(mixed, [[root[0] / sum(root), root[1] / sum(root)]])


def test_certain_members_that_disagree_average_to_numbers() -> None:
    assert np.isfinite(combine([[[1.0, 0.0]], [[0.0, 1.0]]], space=Space.LOGITS)).all()


@settings(max_examples=40, deadline=None)
@given(seeds, sizes)
def test_fitted_weights_have_no_higher_loss_than_equal_ones_or_any_member(
    seed: int, size: tuple[int, int, int]
) -> None:
    members, labels = _noisy_members(seed, *size)
    fitted = log_loss(combine(members, fit_weights(members, labels)), labels)
    assert fitted <= log_loss(combine(members), labels) + 1e-9
    # The optimum is approached, not reached: 500 steps come within a thousandth of a nat.
    assert fitted <= min(log_loss(member, labels) for member in members) + 1e-3


def test_weights_go_to_the_member_that_knows() -> None:
    members, labels = _noisy_members(1, 2, 400, 4, signal=4)
    members[1] = 0.25
    assert fit_weights(members, labels)[0] > 0.95


def test_weights_of_hopeless_members_stay_equal() -> None:
    np.testing.assert_array_equal(fit_weights([[[0.0, 1.0]], [[0.0, 1.0]]], [0]), [0.5, 0.5])


@settings(max_examples=60, deadline=None)
@given(seeds, sizes, st.floats(-2, 4))
def test_choice_is_never_worse_than_none_where_it_was_measured(
    seed: int, size: tuple[int, int, int], signal: float
) -> None:
    members, labels = _noisy_members(seed, *size, signal=signal)
    num_members = len(members)
    views = {"all": range(num_members), "last": [num_members - 1]}
    names = [str(index) for index in range(num_members)]
    for choice in (choose_views(members, labels, views), choose_ensemble(members, labels, names)):
        none = choice.measured[0]
        chosen = next(row for row in choice.measured if row.candidate == choice.chosen)
        assert none.candidate.name == "none"
        assert chosen.accuracy >= none.accuracy
        assert chosen.log_loss <= none.log_loss
        np.testing.assert_allclose(
            log_loss(choice.chosen.apply(members), labels), chosen.log_loss, atol=1e-12
        )


def test_average_of_independent_members_pays() -> None:
    members, labels = _noisy_members(2, 3, 600, 5)
    choice = choose_views(members, labels, {"all three": (0, 1, 2)})
    assert choice.chosen.name.startswith("all three")
    assert choice.measured[1].accuracy > choice.measured[0].accuracy


def test_noise_is_taken_for_a_gain_more_rarely_than_the_level() -> None:
    # A view that differs from the photo as it is by noise that knows nothing of the label.
    kept = 0
    for seed in range(200):
        (photo,), labels = _noisy_members(seed, 1, 200, 4)
        noise = np.random.default_rng(seed + 1000).normal(scale=0.02, size=photo.shape)
        view = photo * np.exp(noise)
        views = np.stack([photo, view / view.sum(axis=1, keepdims=True)])
        candidate = Candidate(name="noise", weights=(0, 1))
        kept += choose(views, labels, [candidate]).chosen.name != "none"
    assert kept <= 14  # 5 % of 200 is 10


def test_ruinous_view_is_left_out() -> None:
    members, labels = _noisy_members(3, 2, 300, 5, signal=4)
    members[1] = np.roll(members[1], 1, axis=1)
    assert choose_views(members, labels, {"both": (0, 1)}).chosen.name == "none"


def test_better_run_is_what_an_ensemble_must_beat() -> None:
    strong, labels = _noisy_members(4, 1, 300, 4, signal=6)
    weak = np.full_like(strong, 0.25)
    choice = choose_ensemble(np.concatenate([weak, strong]), labels, ["weak", "strong"])
    assert choice.measured[0].candidate.weights == (0, 1)


def test_given_weights_are_measured_instead_of_fitted_ones() -> None:
    members, labels = _noisy_members(5, 2, 400, 4)
    choice = choose_ensemble(members, labels, ["a", "b"], given=[3, 1])
    assert [row.candidate.name for row in choice.measured] == ["none", "given weights"]
    np.testing.assert_allclose(choice.chosen.apply(members), combine(members, [0.75, 0.25]))


def test_choice_survives_json() -> None:
    members, labels = _noisy_members(6, 2, 50, 3)
    choice = choose_views(members, labels, {"both": (0, 1)})
    document = choice.to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    measured = [Candidate.from_json(row["candidate"]) for row in document["measured"]]
    assert measured == [row.candidate for row in choice.measured]


@pytest.mark.parametrize(
    ("gained", "lost", "p_value"),
    [(0, 0, 1), (0, 3, 1), (3, 0, 1 / 8), (2, 1, 1 / 2), (5, 0, 1 / 32)],
)
def test_mcnemar_counts_coin_throws(gained: int, lost: int, p_value: float) -> None:
    assert mcnemar_p_value(gained, lost) == p_value


def test_paired_test_needs_examples_and_a_difference() -> None:
    assert paired_p_value(np.ones(29)) == 1
    assert paired_p_value(np.ones(30)) == 0
    assert paired_p_value(np.zeros(30)) == 1
    assert paired_p_value(np.tile([1.0, -1.0], 50)) == 0.5


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, math.nan], [1, math.inf]])
def test_wrong_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(PredictionsError, match="one number >= 0"):
        combine([[[0.5, 0.5]], [[0.5, 0.5]]], weights)


@pytest.mark.parametrize("stacked", [[], [[0.5, 0.5]], [[[0.5, 0.5]], [[0.5, 0.5], [1.0, 0.0]]]])
def test_unlike_members_are_refused(stacked: list[object]) -> None:
    with pytest.raises(PredictionsError, match="same split"):
        combine(stacked)  # type: ignore[arg-type]
