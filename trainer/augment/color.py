"""Brightness, contrast, saturation and hue as one affine map of the three channels.

All four are linear in RGB, so a batch needs one 3x3 matrix and one offset an example and is
clipped once, at the end; Pillow clips after each.

Shape suffixes: B batch, H, W, C channels.
"""

import math

import tensorflow as tf

from trainer.augment.config import Augmentation
from trainer.augment.draws import Draws, Operation
from trainer.augment.kernels import Kernels, fuse

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""ITU-R BT.601, as in Pillow's "L" and OpenCV's YCrCb."""

# ITU-R BT.601 in-phase and quadrature chroma.
_I_WEIGHTS = (0.5959, -0.2746, -0.3213)
_Q_WEIGHTS = (0.2115, -0.5227, 0.3112)


def adjust_color(
    images_bhwc: tf.Tensor, config: Augmentation, draws: Draws, kernels: Kernels = "matrix"
) -> tf.Tensor:
    """Applies the configured operations in the order brightness, contrast, saturation, hue.

    Args:
      images_bhwc: float32 [B, H, W, 3] in 0..255.

    Returns:
      float32 [B, H, W, 3], clipped to 0..255.
    """
    matrix, offset = color_map(
        tf.reduce_mean(images_bhwc, axis=(1, 2)),
        brightness=_factor(config.brightness, draws, Operation.BRIGHTNESS),
        contrast=_factor(config.contrast, draws, Operation.CONTRAST),
        saturation=_factor(config.saturation, draws, Operation.SATURATION),
        hue_radians=_symmetric(math.radians(config.hue_degrees), draws, Operation.HUE),
    )
    return fuse(kernels, apply_color_map, images_bhwc, matrix, offset)


def color_map(
    mean_bc: tf.Tensor,
    *,
    brightness: tf.Tensor | None = None,
    contrast: tf.Tensor | None = None,
    saturation: tf.Tensor | None = None,
    hue_radians: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The matrix [B, 3, 3] and offset [B, 3] of y = matrix x + offset; None leaves a part out.

    With luma Y(x) = 0.299 R + 0.587 G + 0.114 B and factor f: brightness is f x; contrast is
    m + f (x - m), m the picture's mean luma; saturation is Y + f (x - Y), as in Pillow's
    ImageEnhance; hue turns the chroma (I, Q) by an angle and keeps Y.

    Args:
      mean_bc: mean of each channel, float32 [B, 3].
      brightness, contrast, saturation: factors, float32 [B].
      hue_radians: angles, float32 [B].
    """
    luma_33 = tf.ones([3, 1]) * tf.constant([LUMA_WEIGHTS])
    identity_33 = tf.eye(3)
    matrix = tf.broadcast_to(identity_33, tf.concat([tf.shape(mean_bc)[:1], [3, 3]], 0))
    offset = tf.zeros_like(mean_bc)
    if brightness is not None:
        matrix = matrix * brightness[:, None, None]
    if contrast is not None:
        mean_luma_b = tf.reduce_sum(_apply(matrix, mean_bc) * LUMA_WEIGHTS, axis=1)
        matrix = matrix * contrast[:, None, None]
        offset = offset + ((1 - contrast) * mean_luma_b)[:, None]
    if saturation is not None:
        factor = saturation[:, None, None]
        blend = factor * identity_33 + (1 - factor) * luma_33
        matrix, offset = _multiply(blend, matrix), _apply(blend, offset)
    if hue_radians is not None:
        turn = _hue_matrix(hue_radians)
        matrix, offset = _multiply(turn, matrix), _apply(turn, offset)
    return matrix, offset


def apply_color_map(images_bhwc: tf.Tensor, matrix: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """matrix x + offset for every pixel, clipped to 0..255."""
    channels = tf.unstack(images_bhwc, axis=3)
    mixed = [
        tf.add_n([channels[c] * matrix[:, row, c, None, None] for c in range(3)])
        + offset[:, row, None, None]
        for row in range(3)
    ]
    return tf.clip_by_value(tf.stack(mixed, axis=3), 0.0, 255.0)


def _hue_matrix(angle_b: tf.Tensor) -> tf.Tensor:
    """Rotation of (I, Q) at constant luma, in RGB, [B, 3, 3]."""
    to_yiq = tf.constant([LUMA_WEIGHTS, _I_WEIGHTS, _Q_WEIGHTS])
    cos, sin = tf.cos(angle_b), tf.sin(angle_b)
    zero, one = tf.zeros_like(cos), tf.ones_like(cos)
    turn = tf.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], axis=1)
    turn = tf.reshape(turn, [-1, 3, 3])
    return _multiply(_multiply(tf.linalg.inv(to_yiq)[None], turn), to_yiq[None])


def _multiply(a_b33: tf.Tensor, b_b33: tf.Tensor) -> tf.Tensor:
    # Not tf.matmul: matrix units round to bfloat16 or TF32, and these few numbers scale everything.
    return tf.reduce_sum(a_b33[:, :, :, None] * b_b33[:, None, :, :], axis=2)


def _apply(matrix_b33: tf.Tensor, vector_b3: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(matrix_b33 * vector_b3[:, None, :], axis=2)


def _factor(spread: float, draws: Draws, operation: Operation) -> tf.Tensor | None:
    deviation = _symmetric(spread, draws, operation)
    return None if deviation is None else 1 + deviation


def _symmetric(spread: float, draws: Draws, operation: Operation) -> tf.Tensor | None:
    if spread == 0:
        return None
    return spread * (2 * draws.uniform(operation, 1)[:, 0] - 1)
