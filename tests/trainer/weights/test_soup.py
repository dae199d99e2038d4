"""Averages of weights, and the statistics that belong to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.weights import WeightsError
from trainer.weights.soup import greedy_soup
from trainer.weights.statistics import measure_statistics


def soup_of(members: dict[str, list[float]], target: float = 0.0):
    """Members are points; the score is how near the average comes to the target."""

    def load(name):
        return {"w": np.array(members[name], np.float32)}

    def score(arrays):
        return -float(np.square(arrays["w"] - target).sum())

    return greedy_soup(tuple(members), load, score)


def test_members_on_both_sides_of_the_best_point_are_averaged() -> None:
    soup = soup_of({"left": [-1.0], "right": [1.5]})
    assert soup.members == ("left", "right")
    np.testing.assert_allclose(soup.arrays["w"], [0.25])
    assert soup.score == pytest.approx(-(0.25**2))
    assert soup.single_scores == {"left": -1.0, "right": -2.25}


def test_member_that_makes_it_worse_stays_out() -> None:
    soup = soup_of({"far": [9.0], "near": [0.1]})
    assert soup.members == ("near",)
    assert soup.tried["far"] < soup.score == soup.single_scores["near"]


def test_later_member_may_still_help_after_one_was_turned_down() -> None:
    soup = soup_of({"best": [1.0, 0.0], "same": [1.0, 0.3], "other": [-1.1, 0.0]})
    assert soup.members == ("best", "other")


points = st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=2)


@given(st.dictionaries(st.text("abcdef", min_size=1), points, min_size=1, max_size=6))
def test_never_worse_than_the_best_and_always_the_mean_of_its_members(members) -> None:
    soup = soup_of(members)
    assert soup.score >= max(soup.single_scores.values())
    mean = np.mean([members[name] for name in soup.members], axis=0)
    np.testing.assert_allclose(soup.arrays["w"], mean, atol=1e-4)


def test_other_networks_are_not_mixed() -> None:
    with pytest.raises(WeightsError, match=r"b and a differ in 1 tensors, e\.g\. w"):
        soup_of({"a": [1.0], "b": [1.0, 2.0]})


def test_nothing_given() -> None:
    with pytest.raises(WeightsError, match="no weights to average"):
        soup_of({})


class TestStatistics:
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls):
        keras = pytest.importorskip("keras")
        pixels = keras.Input((4, 4, 3))
        x = keras.layers.BatchNormalization(name="first_bn")(pixels)
        x = keras.layers.Conv2D(5, 1, name="conv")(x)
        x = keras.layers.BatchNormalization(name="second_bn")(x)
        return keras.Model(pixels, x)

    @pytest.fixture
    def batches(self) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        return [rng.normal(3, 2, (16, 4, 4, 3)).astype(np.float32) for _ in range(3)]

    def test_they_are_those_of_the_batches(self, model, batches) -> None:
        measured = measure_statistics(model, batches)
        mean = np.mean([batch.mean((0, 1, 2)) for batch in batches], axis=0)
        variance = np.mean([batch.var((0, 1, 2)) for batch in batches], axis=0)
        np.testing.assert_allclose(measured["first_bn/moving_mean"], mean, rtol=1e-4)
        np.testing.assert_allclose(measured["first_bn/moving_variance"], variance, rtol=1e-3)

    def test_upper_layers_see_normalised_inputs(self, model, batches) -> None:
        """Measured in one pass: the layer above must see what the new statistics below give."""
        measured = measure_statistics(model, batches)
        kernel, bias = (np.asarray(part) for part in model.get_layer("conv").get_weights())
        normalised = [
            (batch - batch.mean((0, 1, 2))) / np.sqrt(batch.var((0, 1, 2)) + 1e-3)
            for batch in batches
        ]
        expected = np.mean([(x @ kernel[0, 0] + bias).var((0, 1, 2)) for x in normalised], axis=0)
        np.testing.assert_allclose(measured["second_bn/moving_variance"], expected, rtol=1e-3)

    def test_model_is_left_as_it_was(self, model, batches) -> None:
        before = [np.array(values) for values in model.get_weights()]
        model.get_layer("first_bn").trainable = False
        measure_statistics(model, batches)
        assert model.get_layer("first_bn").trainable is False
        assert model.get_layer("first_bn").momentum == 0.99
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)

    def test_no_batch_is_an_error(self, model) -> None:
        with pytest.raises(WeightsError, match="at least one batch"):
            measure_statistics(model, [])
