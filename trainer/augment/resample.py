"""Crop, antialiased resize, mirror and small rotation of a batch, one axis after the other.

Along each axis an output pixel is a weighted sum of canvas pixels: a triangle as wide as one
output pixel is on the canvas, at least one canvas pixel. That is Pillow's
`Image.resize(..., BILINEAR, box=...)` and `tf.image.resize(..., antialias=True)`. For all
pictures of a batch it is one batched matrix product an axis, or, on the CPU, a sum of the few
pixels with a weight.

A rotation is a shear of the columns before the first pass and of the rows before the second
(Catmull and Smith, "3-D transformations of images in scanline order", 1980), so it needs no
two-dimensional gather and no third resampling.

Shape suffixes: B batch, O output pixels of a side, S canvas pixels of a side, K taps.
"""

import math

import tensorflow as tf

from trainer.augment.geometry import Box
from trainer.augment.kernels import Kernels, fuse
from trainer.augment.shear import shear

_MOST_TAPS = 16


def resample(
    canvases: tf.Tensor,
    box: Box,
    image_px: int,
    *,
    mirror_b: tf.Tensor | None = None,
    angle_b: tf.Tensor | None = None,
    max_angle: float = math.pi / 4,
    outside: float | None = None,
    margin_px: int = 0,
    max_size: float = math.inf,
    kernels: Kernels = "matrix",
) -> tf.Tensor:
    """Looks at each canvas through its box.

    Args:
      canvases: uint8 or float32 [B, S, S, 3].
      box: what becomes the output square; it may reach past the canvas.
      image_px: side of the output, O.
      mirror_b: bool [B], exchange left and right; None for never.
      angle_b: float32 [B], radians, by which the output's content turns counter-clockwise
        (before a mirror); None for never. `margin_px` must have room for the turned box.
      max_angle: bound on the angles either way, at most pi / 4.
      outside: grey level of what lies past the canvas. With None only the canvas counts: weights
        are divided by what of the triangle lies on the canvas, as Pillow does at borders.
      margin_px: canvas pixels, 0..S, that boxes may reach past each border and find the picture's
        reflection, or `outside`.
      max_size: bound on the boxes' width and height, which bounds the taps.
      kernels: which way to compute; "gather" is used where there are few taps.

    Returns:
      float32 [B, O, O, 3] in the range of the canvases, not rounded.
    """
    pixels = canvases
    canvas_px = canvases.shape[1]
    stretch = 1.0 if angle_b is None else 1 / math.cos(max_angle)
    reach = max(1.0, stretch * max_size * canvas_px / image_px)
    by_taps = kernels == "gather" and 2 * reach <= _MOST_TAPS
    if outside is not None:
        # Around the fill level, pixels past the canvas are zeros, and zeros need no weights.
        pixels = tf.cast(pixels, tf.float32) - outside
    if margin_px > 0:
        paddings = [[0, 0], [margin_px, margin_px], [margin_px, margin_px], [0, 0]]
        pixels = tf.pad(pixels, paddings, "SYMMETRIC" if outside is None else "CONSTANT")
        box = _within_margin(box, canvas_px, margin_px)

    def squeeze(pixels: tf.Tensor, axis: int, center: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        mirror = mirror_b if axis == 2 else None
        arguments = (pixels, axis, center, size, image_px, mirror, outside is not None)
        if by_taps:
            return fuse(kernels, _sum_taps, *arguments, math.ceil(2 * reach))
        return _multiply(*arguments)

    center_x, center_y, width, height = box
    if angle_b is None:
        pixels = squeeze(pixels, 1, center_y, height)
        pixels = squeeze(pixels, 2, center_x, width)
    else:
        padded_px = pixels.shape[1]
        # As far as a column or row that is looked at can slide.
        furthest = max_size / 2 * math.tan(max_angle) * (math.cos(max_angle) + math.sin(max_angle))
        limit = math.ceil(canvas_px * min(furthest, 1.0)) + 1
        sin, cos = tf.sin(angle_b), tf.cos(angle_b)
        column = (tf.range(padded_px, dtype=tf.float32) + 0.5)[tf.newaxis, :]
        slope = tf.math.divide_no_nan(height * sin, width * cos)[:, tf.newaxis]
        slide = slope * (column - center_x[:, tf.newaxis] * padded_px)
        pixels = shear(pixels, slide, 1, limit, kernels)
        pixels = squeeze(pixels, 1, center_y, height / cos)
        row = ((tf.range(image_px, dtype=tf.float32) + 0.5) / image_px - 0.5)[tf.newaxis, :]
        slide = -(width * sin)[:, tf.newaxis] * padded_px * row
        pixels = shear(pixels, slide, 2, limit, kernels)
        pixels = squeeze(pixels, 2, center_x, width * cos)
    return pixels if outside is None else pixels + outside


def _within_margin(box: Box, canvas_px: int, margin_px: int) -> Box:
    """The same box in shares of a canvas that has grown by a margin on every side."""
    share = canvas_px / (canvas_px + 2 * margin_px)
    offset = margin_px / (canvas_px + 2 * margin_px)
    center_x, center_y, width, height = box
    return Box(center_x * share + offset, center_y * share + offset, width * share, height * share)


def _multiply(
    pixels: tf.Tensor,
    axis: int,
    center_b: tf.Tensor,
    size_b: tf.Tensor,
    image_px: int,
    mirror_b: tf.Tensor | None,
    padded: bool,
) -> tf.Tensor:
    """Resamples rows (axis 1) or columns (axis 2) by a batched matrix product."""
    pixels = tf.cast(pixels, tf.float32)
    matrix_bos = interpolation_matrix(
        center_b, size_b, pixels.shape[axis], image_px, mirror_b=mirror_b, padded=padded
    )
    if axis == 2:
        return tf.einsum("bos,bhsc->bhoc", matrix_bos, pixels)
    _, height, width, channels = pixels.shape
    product = tf.matmul(matrix_bos, tf.reshape(pixels, [-1, height, width * channels]))
    return tf.reshape(product, [-1, image_px, width, channels])


def interpolation_matrix(
    center_b: tf.Tensor,
    size_b: tf.Tensor,
    canvas_px: int,
    image_px: int,
    *,
    mirror_b: tf.Tensor | None = None,
    padded: bool = False,
) -> tf.Tensor:
    """Weights [B, O, S] that map a line of canvas pixels to a line of output pixels.

    Args:
      center_b: middle of the interval, in shares of the line.
      size_b: length of the interval, in shares of the line, > 0.
      canvas_px: S.
      image_px: O.
      mirror_b: bool [B], read the interval backwards.
      padded: False makes every row sum to 1; True gives rows the share of their triangle that
        lies on the canvas, so that 1 minus the sum is the weight of what lies outside.
    """
    position_bo, reach_b1 = _triangles(center_b, size_b, canvas_px, image_px, mirror_b)
    canvas_s = tf.range(canvas_px, dtype=tf.float32)
    return _weights(canvas_s, position_bo, reach_b1, padded)


def _sum_taps(
    pixels: tf.Tensor,
    axis: int,
    center_b: tf.Tensor,
    size_b: tf.Tensor,
    image_px: int,
    mirror_b: tf.Tensor | None,
    padded: bool,
    num_taps: int,
) -> tf.Tensor:
    """The same sums over the pixels that can have a weight, at most `num_taps`."""
    canvas_px = pixels.shape[axis]
    position_bo, reach_b1 = _triangles(center_b, size_b, canvas_px, image_px, mirror_b)
    first_bo = tf.floor(position_bo - reach_b1) + 1
    tap_bok = first_bo[:, :, tf.newaxis] + tf.range(num_taps, dtype=tf.float32)
    weights_bok = _weights(tap_bok, position_bo, reach_b1, padded, canvas_px)
    index_bok = tf.cast(tf.clip_by_value(tap_bok, 0.0, canvas_px - 1.0), tf.int32)
    total = 0.0
    for tap in range(num_taps):
        taken = tf.cast(
            tf.gather(pixels, index_bok[:, :, tap], axis=axis, batch_dims=1), tf.float32
        )
        weight = weights_bok[:, :, tap, tf.newaxis]
        weight = weight[:, :, tf.newaxis] if axis == 1 else weight[:, tf.newaxis]
        total = total + weight * taken
    return total


def _triangles(
    center_b: tf.Tensor,
    size_b: tf.Tensor,
    canvas_px: int,
    image_px: int,
    mirror_b: tf.Tensor | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Middle [B, O] and half width [B, 1] of each output pixel's triangle, in canvas pixels."""
    output_bo = tf.range(image_px, dtype=tf.float32)[tf.newaxis, :]
    if mirror_b is not None:
        output_bo = tf.where(mirror_b[:, tf.newaxis], image_px - 1 - output_bo, output_bo)
    step_b1 = (size_b * (canvas_px / image_px))[:, tf.newaxis]
    start_b1 = ((center_b - size_b / 2) * canvas_px)[:, tf.newaxis]
    return start_b1 + (output_bo + 0.5) * step_b1 - 0.5, tf.maximum(step_b1, 1.0)


def _weights(
    pixel: tf.Tensor,
    position_bo: tf.Tensor,
    reach_b1: tf.Tensor,
    padded: bool,
    canvas_px: int | None = None,
) -> tf.Tensor:
    """Heights of the triangles at `pixel`, [S] or [B, O, K], over the triangles' sums.

    Pixels that are not on the canvas weigh nothing; `canvas_px` None says that all are.
    """
    distance = tf.abs(pixel - position_bo[:, :, tf.newaxis])
    weights = tf.nn.relu(1 - distance / reach_b1[:, :, tf.newaxis])
    if canvas_px is not None:
        weights = tf.where(tf.logical_and(pixel >= 0, pixel <= canvas_px - 1), weights, 0.0)
    in_full = _triangle_sum(position_bo, reach_b1) if padded else None
    total_bo = tf.reduce_sum(weights, axis=2) if in_full is None else in_full
    return tf.math.divide_no_nan(weights, total_bo[:, :, tf.newaxis])


def _triangle_sum(position_bo: tf.Tensor, reach_b1: tf.Tensor) -> tf.Tensor:
    """Sum of the triangle over all whole numbers, on the canvas or not: two arithmetic series."""
    fraction = position_bo - tf.floor(position_bo)
    total = tf.zeros_like(position_bo)
    for first in (fraction, 1 - fraction):
        num = tf.math.ceil(tf.maximum(reach_b1 - first, 0.0))
        total += num - (num * first + num * (num - 1) / 2) / reach_b1
    return total
