"""Crop, antialiased resize and mirror of a batch as two batched matrix products.

Row `o` of an interpolation matrix holds the weights of the canvas pixels in output pixel `o`: a
triangle as wide as one output pixel is on the canvas, at least one canvas pixel. That is Pillow's
`Image.resize(..., BILINEAR, box=...)` and `tf.image.resize(..., antialias=True)`.

Shape suffixes: B batch, O output pixels of a side, S canvas pixels of a side.
"""

import tensorflow as tf

from trainer.augment.geometry import Box


def resample(
    canvases: tf.Tensor,
    box: Box,
    image_px: int,
    mirror_b: tf.Tensor | None = None,
    outside: float | None = None,
    margin_px: int = 0,
) -> tf.Tensor:
    """Looks at each canvas through its box.

    Args:
      canvases: uint8 or float32 [B, S, S, 3].
      box: what becomes the output square; it may reach past the canvas.
      image_px: side of the output, O.
      mirror_b: bool [B], exchange left and right; None for never.
      outside: grey level of what lies past the canvas. With None only the canvas counts: weights
        are divided by what of the triangle lies on the canvas, as Pillow does at borders, which
        is right for boxes inside of the canvas.
      margin_px: canvas pixels that are reflected past each border first, 0..S, so that boxes may
        reach that far out and see the picture mirrored there.

    Returns:
      float32 [B, O, O, 3] in the range of the canvases, not rounded.
    """
    canvas_px = canvases.shape[1]
    if margin_px > 0:
        paddings = [[0, 0], [margin_px, margin_px], [margin_px, margin_px], [0, 0]]
        canvases = tf.pad(canvases, paddings, "SYMMETRIC")
        box = _within_margin(box, canvas_px, margin_px)
        canvas_px += 2 * margin_px
    pixels = tf.cast(canvases, tf.float32)
    if outside is not None:
        # Around the fill level, pixels past the canvas are zeros, and zeros need no weights.
        pixels = pixels - outside
    padded = outside is not None
    rows_bos = interpolation_matrix(box.center_y, box.height, canvas_px, image_px, padded=padded)
    columns_bos = interpolation_matrix(
        box.center_x, box.width, canvas_px, image_px, mirror_b=mirror_b, padded=padded
    )
    pixels = tf.matmul(rows_bos, tf.reshape(pixels, [-1, canvas_px, canvas_px * 3]))
    pixels = tf.reshape(pixels, [-1, image_px, canvas_px, 3])
    pixels = tf.einsum("bos,bhsc->bhoc", columns_bos, pixels)
    return pixels if outside is None else pixels + outside


def _within_margin(box: Box, canvas_px: int, margin_px: int) -> Box:
    """The same box in shares of a canvas that has grown by a margin on every side."""
    share = canvas_px / (canvas_px + 2 * margin_px)
    offset = margin_px / (canvas_px + 2 * margin_px)
    center_x, center_y, width, height = box
    return Box(center_x * share + offset, center_y * share + offset, width * share, height * share)


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
    output_bo = tf.range(image_px, dtype=tf.float32)[tf.newaxis, :]
    if mirror_b is not None:
        output_bo = tf.where(mirror_b[:, tf.newaxis], image_px - 1 - output_bo, output_bo)
    step_b1 = (size_b * (canvas_px / image_px))[:, tf.newaxis]
    start_b1 = ((center_b - size_b / 2) * canvas_px)[:, tf.newaxis]
    position_bo = start_b1 + (output_bo + 0.5) * step_b1 - 0.5
    reach_b1 = tf.maximum(step_b1, 1.0)
    canvas_s = tf.range(canvas_px, dtype=tf.float32)
    distance_bos = tf.abs(canvas_s - position_bo[:, :, tf.newaxis])
    weights_bos = tf.nn.relu(1 - distance_bos / reach_b1[:, :, tf.newaxis])
    if padded:
        total_bo = _triangle_sum(position_bo, reach_b1)
    else:
        total_bo = tf.reduce_sum(weights_bos, axis=2)
    return tf.math.divide_no_nan(weights_bos, total_bo[:, :, tf.newaxis])


def _triangle_sum(position_bo: tf.Tensor, reach_b1: tf.Tensor) -> tf.Tensor:
    """Sum of the triangle over all whole numbers, on the canvas or not: two arithmetic series."""
    fraction = position_bo - tf.floor(position_bo)
    total = tf.zeros_like(position_bo)
    for first in (fraction, 1 - fraction):
        num = tf.math.ceil(tf.maximum(reach_b1 - first, 0.0))
        total += num - (num * first + num * (num - 1) / 2) / reach_b1
    return total
