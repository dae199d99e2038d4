"""Rotation by two shears against SciPy's two-dimensional interpolation."""

import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageFilter
from scipy import ndimage

from tests.trainer.augment.pictures import make_picture
from trainer.augment.batch import augment_batch
from trainer.augment.config import Augmentation
from trainer.augment.geometry import Box
from trainer.augment.resample import resample
from trainer.augment.shear import shear

SIZE_PX = 64
ANGLES = [-45.0, -10.0, 0.0, 3.0, 25.0]


@pytest.fixture(scope="module")
def canvas() -> np.ndarray:
    """Smooth, so that one interpolation more or less does not count."""
    photo = Image.fromarray(make_picture(5, (SIZE_PX, SIZE_PX)))
    return np.asarray(photo.filter(ImageFilter.GaussianBlur(2)))


def _rotate(canvas: np.ndarray, degrees: float, box: tuple[float, ...], **options) -> np.ndarray:
    angle = tf.constant([math.radians(degrees)], tf.float32)
    parts = Box(*(tf.constant([value], tf.float32) for value in box))
    options = {"margin_px": 24, "max_size": 1.0} | options
    return resample(tf.constant(canvas[None]), parts, SIZE_PX, angle_b=angle, **options).numpy()[0]


def _scipy(canvas: np.ndarray, degrees: float, box: tuple[float, ...], **options) -> np.ndarray:
    """float64: output pixel (row, column) reads the box's centre plus its turned offset."""
    center_x, center_y, width, height = box
    angle = math.radians(degrees)
    offset = (np.arange(SIZE_PX) + 0.5) / SIZE_PX - 0.5
    y, x = np.meshgrid(offset, offset, indexing="ij")
    source_x = center_x + width * (math.cos(angle) * x - math.sin(angle) * y)
    source_y = center_y + height * (math.sin(angle) * x + math.cos(angle) * y)
    where = np.stack([source_y, source_x]) * SIZE_PX - 0.5
    channels = [
        ndimage.map_coordinates(canvas[..., c].astype(float), where, order=1, **options)
        for c in range(3)
    ]
    return np.stack(channels, -1)


@pytest.mark.parametrize("kernels", ["matrix", "gather"])
@pytest.mark.parametrize("box", [(0.5, 0.5, 1.0, 1.0), (0.45, 0.55, 0.7, 0.9)])
@pytest.mark.parametrize("degrees", ANGLES)
def test_equals_scipy(canvas: np.ndarray, degrees: float, box: tuple, kernels: str) -> None:
    ours = _rotate(canvas, degrees, box, kernels=kernels)
    difference = np.abs(ours - _scipy(canvas, degrees, box, mode="reflect"))
    assert difference.mean() < 1.0
    assert np.quantile(difference, 0.99) < 6


def test_no_angle_is_no_rotation(canvas: np.ndarray) -> None:
    np.testing.assert_allclose(_rotate(canvas, 0.0, (0.5, 0.5, 1.0, 1.0)), canvas, atol=1e-3)


def test_outside_is_filled(canvas: np.ndarray) -> None:
    box = (0.5, 0.5, 1.0, 1.0)
    ours = _rotate(canvas, 20.0, box, outside=50.0)
    expected = _scipy(canvas, 20.0, box, mode="grid-constant", cval=50.0)
    assert np.abs(ours - expected).mean() < 1.5
    np.testing.assert_allclose(ours[0, 0], 50, atol=0.01)


def test_mirror_reverses_the_turned_picture(canvas: np.ndarray) -> None:
    box = (0.5, 0.5, 1.0, 1.0)
    plain = _rotate(canvas, 12.0, box)
    mirrored = _rotate(canvas, 12.0, box, mirror_b=tf.constant([True]))
    np.testing.assert_allclose(mirrored, plain[:, ::-1], atol=1e-3)


def test_angles_fill_the_configured_range(canvas: np.ndarray) -> None:
    num = 60
    parts = (
        np.repeat(canvas[None], num, 0),
        np.ones(num, np.float32),
        np.ones((num, 1), np.float32),
        np.stack([np.arange(num), np.zeros(num)], 1).astype(np.int32),
    )
    config = Augmentation(rotation_degrees=15.0)
    images = augment_batch(*(tf.constant(part) for part in parts), config, SIZE_PX)[0].numpy()
    candidates = np.arange(-20, 21)
    turned = np.stack([_scipy(canvas, d, (0.5, 0.5, 1, 1), mode="reflect") for d in candidates])
    errors = np.abs(images[:, None] - turned[None]).mean((2, 3, 4))
    found = candidates[errors.argmin(1)]
    assert -16 <= found.min() < -11
    assert 11 < found.max() <= 16


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("kernels", ["matrix", "gather"])
def test_shear_equals_numpy(axis: int, kernels: str) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 11, 11, 3), np.uint8)
    shift = rng.uniform(-6, 6, (2, 11)).astype(np.float32)
    lines = np.moveaxis(pixels, axis, 2).astype(np.float64)  # [B, line, along, C]
    expected = np.empty_like(lines)
    for b, line, channel in np.ndindex(2, 11, 3):
        along = np.arange(11) + np.clip(shift[b, line], -5, 5)
        expected[b, line, :, channel] = np.interp(along, np.arange(11), lines[b, line, :, channel])
    ours = np.moveaxis(
        shear(tf.constant(pixels), tf.constant(shift), axis, 5, kernels).numpy(), axis, 2
    )
    np.testing.assert_allclose(ours, expected, atol=1e-3)
