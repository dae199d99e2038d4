"""AdamW against Keras' own, and what it does with gradients that are not finite."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.engine.losses import cross_entropy, soft_labels
from trainer.engine.optimizer import FIRST_LOSS_SCALE, AdamSettings, AdamW

START = {"kernel": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), "bias": np.ones(3, "f")}


def make(
    rate_factors: dict[str, float] | None = None, **changes: object
) -> tuple[AdamW, dict[str, tf.Variable]]:
    weights = {name: tf.Variable(value) for name, value in START.items()}
    settings = {
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-7,
        "weight_decay": 0.0,
        "clip_norm": None,
        "ema_decay": None,
        "scales_loss": False,
    }
    factors = rate_factors or dict.fromkeys(weights, 1.0)
    return AdamW(weights, factors, AdamSettings(**(settings | changes))), weights


def gradients_at(step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    return {name: rng.normal(size=value.shape).astype("f") for name, value in START.items()}


def update(optimizer: AdamW, gradients: dict[str, np.ndarray], rate: float = 0.1) -> tuple:
    tensors = {name: tf.constant(value) for name, value in gradients.items()}
    return optimizer.update(tensors, tf.constant(rate), tf.constant(1.0))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_it_walks_where_keras_walks(weight_decay: float) -> None:
    optimizer, ours = make(weight_decay=weight_decay)
    theirs = {name: keras.Variable(value) for name, value in START.items()}
    peer = keras.optimizers.AdamW(0.1, weight_decay=weight_decay, epsilon=1e-7)
    peer.build(list(theirs.values()))
    peer.exclude_from_weight_decay([theirs["bias"]])
    for step in range(6):
        gradients = gradients_at(step)
        update(optimizer, gradients)
        peer.apply(list(gradients.values()))
    for name, variable in ours.items():
        np.testing.assert_allclose(variable, np.asarray(theirs[name]), rtol=2e-5, atol=1e-6)


def test_a_rate_factor_of_zero_stands_still() -> None:
    optimizer, weights = make(rate_factors={"kernel": 1.0, "bias": 0.0}, weight_decay=0.1)
    update(optimizer, gradients_at(0))
    np.testing.assert_array_equal(weights["bias"], START["bias"])
    assert not np.array_equal(weights["kernel"], START["kernel"])


def test_clipping_is_by_the_norm_of_all_gradients() -> None:
    gradients = gradients_at(0)
    norm = np.sqrt(sum((value**2).sum() for value in gradients.values()))
    clipped, _ = make(clip_norm=0.5)
    scaled, expected = make()
    reported, _ = update(clipped, gradients)
    update(scaled, {name: value * 0.5 / norm for name, value in gradients.items()})
    assert float(reported) == pytest.approx(norm, rel=1e-6)
    for name, variable in clipped._weights.items():
        np.testing.assert_allclose(variable, expected[name], rtol=1e-4)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_gradient_that_is_not_finite_changes_nothing(bad: float) -> None:
    optimizer, _ = make(ema_decay=0.9, weight_decay=0.1)
    update(optimizer, gradients_at(0))
    before = {name: variable.numpy() for name, variable in optimizer.variables().items()}
    gradients = gradients_at(1)
    gradients["bias"][0] = bad
    _, finite = update(optimizer, gradients)
    assert not bool(finite)
    for name, variable in optimizer.variables().items():
        np.testing.assert_array_equal(variable, before[name], err_msg=name)


def test_loss_scale_halves_on_overflow_and_grows_after_many_good_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainer.engine.optimizer.STEPS_TO_GROW_LOSS_SCALE", 3)
    optimizer, _ = make(scales_loss=True)
    overflow = {name: np.full_like(value, np.inf) for name, value in START.items()}
    update(optimizer, overflow)
    assert float(optimizer.loss_scale) == FIRST_LOSS_SCALE / 2
    for step in range(3):
        update(optimizer, gradients_at(step))
    assert float(optimizer.loss_scale) == FIRST_LOSS_SCALE


def test_scaled_gradients_make_the_same_update() -> None:
    plain, weights = make()
    scaling, scaled_weights = make(scales_loss=True)
    update(plain, gradients_at(0))
    scaled = {name: value * FIRST_LOSS_SCALE for name, value in gradients_at(0).items()}
    update(scaling, scaled)
    for name, variable in weights.items():
        np.testing.assert_allclose(scaled_weights[name], variable, rtol=1e-6)


def test_the_running_average_follows_its_formula() -> None:
    optimizer, weights = make(ema_decay=0.5)
    average = START["kernel"].astype(np.float64)
    for step in range(4):
        update(optimizer, gradients_at(step))
        decay = min(0.5, (2 + step) / (11 + step))
        average = decay * average + (1 - decay) * weights["kernel"].numpy()
    np.testing.assert_allclose(optimizer.averaged()["kernel"][1], average, rtol=1e-5)


def test_cross_entropy_of_smoothed_labels() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 5)).astype("f")
    labels = np.array([0, 4, 2, 2])
    targets = np.full((4, 5), 0.1 / 5)
    targets[np.arange(4), labels] += 0.9
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(soft_labels(tf.constant(labels), 5, 0.1), targets, rtol=1e-6)
    np.testing.assert_allclose(
        cross_entropy(tf.constant(logits), soft_labels(tf.constant(labels), 5, 0.1)),
        -(targets * log_probabilities).sum(axis=1),
        rtol=1e-5,
    )
