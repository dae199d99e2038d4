"""Crop, resize and mirror against Pillow."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.trainer.augment.pictures import make_canvases
from trainer.augment.geometry import Box
from trainer.augment.resample import interpolation_matrix, resample

CANVAS_PX = 48
# Left, top, right, bottom in canvas pixels: whole, fractional, enlarged, wide, at a border.
BOXES = [
    (0, 0, 48, 48),
    (3.3, 7.9, 40.2, 44.6),
    (20.5, 10.25, 25.5, 16.75),
    (0, 30, 48, 36),
    (30.7, 0, 48, 48),
]


def _box(corners: list[tuple[float, ...]]) -> Box:
    left, top, right, bottom = (
        np.float32(column) / CANVAS_PX for column in zip(*corners, strict=True)
    )
    return Box(
        *(
            tf.constant(x)
            for x in ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        )
    )


@pytest.mark.parametrize("kernels", ["matrix", "gather"])
@pytest.mark.parametrize("image_px", [13, 32, 48, 80])
def test_equals_pillow_within_its_rounding(image_px: int, kernels: str) -> None:
    canvases = make_canvases(len(BOXES), CANVAS_PX)
    ours = resample(
        tf.constant(canvases), _box(BOXES), image_px, max_size=1.0, kernels=kernels
    ).numpy()
    pillow = np.stack(
        [
            Image.fromarray(canvas).resize((image_px, image_px), Image.Resampling.BILINEAR, box=box)
            for canvas, box in zip(canvases, BOXES, strict=True)
        ]
    )
    # Pillow rounds to whole grey levels after each of its two passes.
    assert np.abs(ours - pillow).max() <= 1.01


@pytest.mark.parametrize("image_px", [20, 48])
def test_equals_tensorflow_antialiased_resize(image_px: int) -> None:
    canvases = tf.constant(make_canvases(2, CANVAS_PX))
    ours = resample(canvases, _box([(0, 0, 48, 48)] * 2), image_px)
    theirs = tf.image.resize(canvases, [image_px, image_px], antialias=True)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_whole_canvas_at_its_own_size_is_untouched() -> None:
    canvases = make_canvases(1, CANVAS_PX)
    ours = resample(tf.constant(canvases), _box([(0, 0, 48, 48)]), CANVAS_PX)
    np.testing.assert_array_equal(ours, canvases)


def test_mirror_is_exactly_the_reversed_picture() -> None:
    canvases = tf.constant(make_canvases(2, CANVAS_PX))
    box = _box(BOXES[1:3])
    plain = resample(canvases, box, 32).numpy()
    mirrored = resample(canvases, box, 32, mirror_b=tf.constant([True, False])).numpy()
    np.testing.assert_array_equal(mirrored[0], plain[0, :, ::-1])
    np.testing.assert_array_equal(mirrored[1], plain[1])


@pytest.mark.parametrize("kernels", ["matrix", "gather"])
@pytest.mark.parametrize("image_px", [17, 48])
def test_reflected_margin_equals_pillow_on_a_reflected_picture(image_px: int, kernels: str) -> None:
    canvases = make_canvases(1, CANVAS_PX)
    corners = (-9.4, 5.2, 40.1, 60.5)
    ours = resample(
        tf.constant(canvases),
        _box([corners]),
        image_px,
        margin_px=16,
        max_size=1.2,
        kernels=kernels,
    ).numpy()[0]
    reflected = np.pad(canvases[0], ((16, 16), (16, 16), (0, 0)), "symmetric")
    pillow = Image.fromarray(reflected).resize(
        (image_px, image_px), Image.Resampling.BILINEAR, box=tuple(x + 16 for x in corners)
    )
    assert np.abs(ours - np.asarray(pillow)).max() <= 1.01


@pytest.mark.parametrize("image_px", [17, 48, 90])
def test_bars_equal_pillow_on_a_padded_picture(image_px: int) -> None:
    canvases = make_canvases(1, CANVAS_PX)
    corners = (-16.0, 0.0, 64.0, 48.0)
    ours = resample(
        tf.constant(canvases), _box([corners]), image_px, outside=100.0, margin_px=0
    ).numpy()[0]
    padded = np.full((144, 144, 3), 100, np.uint8)
    padded[48:96, 48:96] = canvases[0]
    pillow = Image.fromarray(padded).resize(
        (image_px, image_px), Image.Resampling.BILINEAR, box=tuple(x + 48 for x in corners)
    )
    assert np.abs(ours - np.asarray(pillow)).max() <= 1.01


@pytest.mark.parametrize("size", [0.1, 0.77, 1.0, 3.0, 10_000.0])
def test_padded_weights_sum_to_the_share_on_the_canvas(size: float) -> None:
    """Against the sum over a line long enough to hold the whole triangle, in float64."""
    canvas_px, image_px = 16, 5
    matrix = interpolation_matrix(
        tf.constant([0.4]), tf.constant([size]), canvas_px, image_px, padded=True
    ).numpy()[0]
    step = size * canvas_px / image_px
    position = (0.4 - size / 2) * canvas_px + (np.arange(image_px) + 0.5) * step - 0.5
    far = np.arange(-10 * int(size * canvas_px + 2), 10 * int(size * canvas_px + 2))
    triangle = np.maximum(0, 1 - np.abs(far - position[:, None]) / max(step, 1))
    on_canvas = triangle[:, (far >= 0) & (far < canvas_px)].sum(1)
    np.testing.assert_allclose(matrix.sum(1), on_canvas / triangle.sum(1), atol=1e-5)
