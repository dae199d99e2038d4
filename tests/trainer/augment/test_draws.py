"""Random numbers: right generator, uniform, and tied to the example alone."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from trainer.augment.draws import DRAWS_PER_OPERATION, Draws, Operation, threefry_2x32


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        # The known answers published with Random123.
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_threefry_known_answers(key, counter, expected, compiled) -> None:
    function = tf.function(threefry_2x32, jit_compile=compiled)
    words = [tf.constant(word, tf.uint32) for word in (*key, *counter)]
    result = function((words[0], words[1]), (words[2], words[3]))
    assert tuple(int(word) for word in result) == expected


def _seeds(num: int) -> np.ndarray:
    return np.stack([np.arange(num), np.full(num, 3)], 1).astype(np.int32)


def test_streams_are_uniform_even_for_consecutive_seeds() -> None:
    draws = Draws(tf.constant(_seeds(400)), [Operation.CROP])
    numbers = draws.uniform(Operation.CROP, DRAWS_PER_OPERATION).numpy()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 0.01
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.03


def test_streams_of_operations_differ() -> None:
    draws = Draws(tf.constant(_seeds(200)), [Operation.CROP, Operation.MIRROR])
    crop = draws.uniform(Operation.CROP, 8).numpy().ravel()
    mirror = draws.uniform(Operation.MIRROR, 8).numpy().ravel()
    assert abs(np.corrcoef(crop, mirror)[0, 1]) < 0.1


def test_stream_is_the_same_whatever_else_is_on() -> None:
    seeds = tf.constant(_seeds(5))
    alone = Draws(seeds, [Operation.HUE]).uniform(Operation.HUE, 4)
    among = Draws(seeds, list(Operation)).uniform(Operation.HUE, 4)
    np.testing.assert_array_equal(alone, among)


def test_draws_follow_the_example_not_its_place() -> None:
    seeds = _seeds(16)
    order = np.random.default_rng(1).permutation(16)
    straight = Draws(tf.constant(seeds), [Operation.CROP]).uniform(Operation.CROP, 6).numpy()
    shuffled = Draws(tf.constant(seeds[order]), [Operation.CROP]).uniform(Operation.CROP, 6).numpy()
    np.testing.assert_array_equal(shuffled, straight[order])


def test_chance_has_its_probability() -> None:
    draws = Draws(tf.constant(_seeds(4000)), [Operation.MIRROR])
    assert abs(np.mean(draws.chance(Operation.MIRROR, 0.3)) - 0.3) < 0.03
    assert not np.any(draws.chance(Operation.MIRROR, 0.0))
    assert np.all(draws.chance(Operation.MIRROR, 1.0))


def test_too_many_draws_are_refused() -> None:
    draws = Draws(tf.constant(_seeds(1)), [Operation.CROP])
    with pytest.raises(ValueError, match="CROP"):
        draws.uniform(Operation.CROP, DRAWS_PER_OPERATION + 1)


def test_operation_numbers_are_frozen() -> None:
    assert [(operation.name, operation.value) for operation in Operation] == [
        ("CROP", 1),
        ("MIRROR", 2),
        ("ROTATION", 3),
        ("SHIFT", 4),
        ("ZOOM", 5),
        ("BRIGHTNESS", 6),
        ("CONTRAST", 7),
        ("SATURATION", 8),
        ("HUE", 9),
        ("CLAHE", 10),
        ("ADAPTIVE_GAMMA", 11),
        ("ERASING", 12),
        ("MIX_CHOICE", 13),
        ("MIXUP", 14),
        ("CUTMIX", 15),
        ("CUTMIX_BOX", 16),
    ]
