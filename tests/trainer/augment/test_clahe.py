"""CLAHE against OpenCV, in both ways of computing it."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.augment.pictures import make_canvases
from trainer.augment.clahe import clahe

KERNELS = ["gather", "matrix"]


def _opencv(grey: np.ndarray, clip_limit: float, num_tiles: int) -> np.ndarray:
    operator = cv2.createCLAHE(clip_limit, (num_tiles, num_tiles))
    return np.stack([operator.apply(image) for image in grey]).astype(np.float32)


def _grey(num: int, size_px: int) -> np.ndarray:
    return np.stack(
        [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in make_canvases(num, size_px)]
    )


def _ours(grey: np.ndarray, *args) -> np.ndarray:
    images = np.repeat(grey[..., None], 3, axis=3).astype(np.float32)
    return clahe(tf.constant(images), *args).numpy()[..., 0]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("size_px", "clip_limit", "num_tiles"),
    [
        (456, 2.0, 8),  # the last stage's size: odd tiles of 57 px
        (224, 2.0, 8),
        (64, 40.0, 8),
        (50, 3.0, 8),  # not divisible: reflected
        (37, 0.01, 4),  # the smallest limit of 1
        (40, 256.0, 1),  # plain equalisation
    ],
)
def test_equals_opencv_within_one_level(
    size_px: int, clip_limit: float, num_tiles: int, kernels: str
) -> None:
    grey = _grey(2, size_px)
    difference = np.abs(
        _ours(grey, clip_limit, num_tiles, kernels) - _opencv(grey, clip_limit, num_tiles)
    )
    assert (difference <= 1).mean() >= 0.995
    assert (difference == 0).mean() >= 0.98


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_even_surface_equals_opencv(level: int, kernels: str) -> None:
    grey = np.full((1, 32, 32), level, np.uint8)
    np.testing.assert_array_equal(_ours(grey, 2.0, 4, kernels), _opencv(grey, 2.0, 4))


@pytest.mark.parametrize("kernels", KERNELS)
def test_colour_equals_opencv_on_y_of_ycrcb(kernels: str) -> None:
    # Pale: OpenCV's 8-bit Cr and Cb cannot hold the strongest reds and blues.
    images = (make_canvases(3, 64) * 0.6 + 50).astype(np.uint8)
    expected = []
    for image in images:
        converted = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
        converted[..., 0] = cv2.createCLAHE(2.0, (8, 8)).apply(converted[..., 0])
        expected.append(cv2.cvtColor(converted, cv2.COLOR_YCrCb2RGB))
    ours = clahe(tf.constant(images, tf.float32), 2.0, 8, kernels).numpy()
    # OpenCV rounds Cr and Cb to whole levels, which come back multiplied by up to 1.77.
    assert np.abs(ours - np.stack(expected)).max() <= 2


def test_compiles_for_accelerators_and_agrees() -> None:
    images = tf.constant(make_canvases(2, 30), tf.float32)
    compiled = tf.function(lambda x: clahe(x, 2.0, 4, "matrix"), jit_compile=True)(images)
    # A rounded blend may fall to the other side of one half.
    difference = np.abs(compiled - clahe(images, 2.0, 4, "matrix"))
    assert (difference < 1e-3).mean() > 0.999
    assert difference.max() <= 1.001


def test_both_ways_agree() -> None:
    images = tf.constant(make_canvases(2, 57), tf.float32)
    difference = np.abs(clahe(images, 2.0, 8, "gather") - clahe(images, 2.0, 8, "matrix"))
    assert (difference < 1e-3).mean() > 0.99
    assert difference.max() <= 1.001


@pytest.mark.parametrize("shape", [(1, 15, 15, 3), (1, 32, 40, 3)])
def test_too_small_or_oblong_pictures_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="clahe_tiles"):
        clahe(tf.zeros(shape), 2.0, 8)


@pytest.mark.parametrize("size_px", [32, 45])
def test_all_tiles_at_once_equal_one_after_the_other(size_px: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, size_px, size_px, 3))
    pixels = tf.constant(images, tf.float32)
    looped = clahe(pixels, 2.0, 4, "matrix")
    np.testing.assert_array_equal(clahe(pixels, 2.0, 4, "matrix", in_loop=False), looped)
