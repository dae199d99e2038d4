"""Adaptive gamma correction against the published formula in float64, and at its edges."""

import colorsys
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.augment.pictures import make_picture
from trainer.augment.gamma import adaptive_gamma


def _reference(image: np.ndarray) -> np.ndarray:
    """Rahman et al. 2016, equations 1 to 8, pixel by pixel through HSV."""
    hsv = np.array([[colorsys.rgb_to_hsv(*(pixel / 255)) for pixel in row] for row in image])
    value = hsv[..., 2]
    m, s = value.mean(), value.std()
    gamma = -math.log2(s) if 4 * s <= 1 / 3 else math.exp((1 - (m + s)) / 2)
    power = value**gamma
    k = power + (1 - power) * m**gamma
    heaviside = 1 if 0.5 - m > 0 else 0
    hsv[..., 2] = power / (1 + heaviside * (k - 1))
    return 255 * np.array([[colorsys.hsv_to_rgb(*pixel) for pixel in row] for row in hsv])


def _pictures() -> dict[str, np.ndarray]:
    base = make_picture(1, (20, 20)).astype(np.float64)
    return {
        "dark, high contrast": 255 * (base / 255) ** 4,
        "dark, low contrast": 40 + base * 0.1,
        "bright, high contrast": base,
        "bright, low contrast": 180 + base * 0.1,
        "one white pixel": np.where(np.arange(1200).reshape(20, 20, 3) < 3, 255.0, 0.0),
        "one black pixel": np.where(np.arange(1200).reshape(20, 20, 3) < 3, 0.0, 255.0),
    }


@pytest.mark.parametrize("name", list(_pictures()))
def test_equals_the_formula(name: str) -> None:
    image = _pictures()[name]
    ours = adaptive_gamma(tf.constant(image[None], tf.float32)).numpy()[0]
    np.testing.assert_allclose(ours, _reference(image), atol=0.05)


def test_the_four_cases_are_really_covered() -> None:
    cases = set()
    for image in list(_pictures().values())[:4]:
        value = image.max(2) / 255
        cases.add((bool(4 * value.std() <= 1 / 3), bool(value.mean() < 0.5)))
    assert len(cases) == 4


@pytest.mark.parametrize("level", [0.0, 1.0, 60.0, 127.5, 200.0, 255.0])
def test_even_surface_is_left_as_it_is(level: float) -> None:
    images = tf.fill([1, 6, 6, 3], level)
    np.testing.assert_array_equal(adaptive_gamma(images), images)


def test_pictures_of_a_batch_do_not_touch_each_other() -> None:
    images = np.stack(list(_pictures().values())).astype(np.float32)
    together = adaptive_gamma(tf.constant(images)).numpy()
    alone = adaptive_gamma(tf.constant(images[2:3])).numpy()
    np.testing.assert_allclose(together[2:3], alone, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_result_is_finite_and_in_range(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 255, (4, 9, 9, 3)) * rng.uniform(0, 1, (4, 1, 1, 1)) ** 4
    result = adaptive_gamma(tf.constant(images, tf.float32)).numpy()
    assert np.isfinite(result).all()
    assert result.min() >= 0
    assert result.max() <= 255
