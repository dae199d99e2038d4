"""Colour operations against Pillow and a float64 formula."""

import colorsys
import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance

from tests.trainer.augment.pictures import make_canvases
from trainer.augment.color import adjust_color, apply_color_map, color_map
from trainer.augment.config import Augmentation
from trainer.augment.draws import Draws, Operation

ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}


def _apply(images: np.ndarray, **parts: float) -> np.ndarray:
    images = tf.constant(images, tf.float32)
    values = {name: tf.fill([len(images)], value) for name, value in parts.items()}
    matrix, offset = color_map(tf.reduce_mean(images, (1, 2)), **values)
    return apply_color_map(images, matrix, offset).numpy()


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.7])
@pytest.mark.parametrize("name", list(ENHANCERS))
def test_equals_pillow_within_its_rounding(name: str, factor: float) -> None:
    images = make_canvases(3, 32)
    ours = _apply(images, **{name: factor})
    pillow = np.stack(
        [np.asarray(ENHANCERS[name](Image.fromarray(image)).enhance(factor)) for image in images]
    )
    # Pillow rounds the luma (contrast: of the whole picture) before it is scaled by 1 - factor.
    assert np.abs(ours - pillow).max() <= 1 + abs(1 - factor)


def test_composition_equals_a_float64_formula() -> None:
    images = make_canvases(2, 24) * 0.5 + 60.0
    ours = _apply(images, brightness=1.1, contrast=0.8, saturation=1.2, hue_radians=0.2)
    luma = np.array([0.299, 0.587, 0.114])
    x = images.astype(np.float64) * 1.1
    mean = (x @ luma).mean((1, 2))[:, None, None, None]
    x = mean + 0.8 * (x - mean)
    y = (x @ luma)[..., None]
    x = y + 1.2 * (x - y)
    to_yiq = np.array([luma, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    c, s = math.cos(0.2), math.sin(0.2)
    turn = np.linalg.inv(to_yiq) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ to_yiq
    np.testing.assert_allclose(ours, np.clip(x @ turn.T, 0, 255), atol=2e-3)


def test_hue_keeps_luma_and_turns_the_colour() -> None:
    red = np.full((1, 1, 1, 3), (150.0, 100.0, 100.0))
    turned = _apply(red, hue_radians=math.radians(120))[0, 0, 0]
    assert turned @ [0.299, 0.587, 0.114] == pytest.approx(114.95, abs=0.1)
    hue = colorsys.rgb_to_hsv(*turned)[0] * 360
    assert min(abs(hue - 120), abs(hue - 240)) < 15


def test_grey_has_no_hue_to_turn() -> None:
    grey = np.full((1, 2, 2, 3), 77.0)
    np.testing.assert_allclose(_apply(grey, hue_radians=1.0, saturation=1.8), grey, atol=0.05)


def test_factors_are_drawn_from_the_configured_range() -> None:
    num = 500
    seeds = tf.constant(np.stack([np.arange(num), np.ones(num)], 1).astype(np.int32))
    draws = Draws(seeds, [Operation.BRIGHTNESS])
    factor = adjust_color(tf.fill([num, 1, 1, 3], 100.0), Augmentation(brightness=0.3), draws)
    assert 70 <= np.min(factor) < 72
    assert 128 < np.max(factor) <= 130


def test_result_stays_in_range() -> None:
    result = _apply(make_canvases(2, 16), brightness=2.0, contrast=2.0, saturation=2.0)
    assert (result.min(), result.max()) == (0, 255)
