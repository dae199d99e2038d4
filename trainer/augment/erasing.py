"""Random erasing: one box of each chosen picture becomes one random colour."""

import math

import tensorflow as tf

from trainer.augment.config import Augmentation
from trainer.augment.draws import Draws, Operation
from trainer.augment.kernels import Kernels, fuse


def erase(
    images: tf.Tensor, config: Augmentation, draws: Draws, kernels: Kernels = "matrix"
) -> tf.Tensor:
    """Overwrites a box in each example that takes part.

    The box's area is uniform and its ratio log-uniform in the configured ranges; a side longer
    than the picture is cut to it; its ends are whole pixels, its place is uniform inside of the
    picture, its colour uniform in RGB.

    Args:
      images: float32 [B, H, W, 3] in 0..255.

    Returns:
      float32 [B, H, W, 3].

    Source: Zhong et al., "Random erasing data augmentation", 2017.
    """
    uniform = draws.uniform(Operation.ERASING, 7)
    low_area, high_area = config.erasing_area
    low_ratio, high_ratio = (math.log(x) for x in config.erasing_ratio)
    area = low_area + uniform[:, 0] * (high_area - low_area)
    ratio = tf.exp(low_ratio + uniform[:, 1] * (high_ratio - low_ratio))
    rows = _inside(tf.sqrt(area / ratio), uniform[:, 2], images.shape[1])
    columns = _inside(tf.sqrt(area * ratio), uniform[:, 3], images.shape[2])
    rows = tf.logical_and(rows, draws.chance(Operation.ERASING, config.erasing)[:, None])
    return fuse(kernels, _overwrite, images, rows, columns, tf.floor(uniform[:, 4:7] * 256))


def _overwrite(
    images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, color: tf.Tensor
) -> tf.Tensor:
    box = tf.logical_and(rows[:, :, None], columns[:, None, :])
    return tf.where(box[..., None], color[:, None, None, :], images)


def _inside(share: tf.Tensor, place: tf.Tensor, size: int) -> tf.Tensor:
    """Whether each pixel of a line lies in an interval of `share` of it; bool [B, size]."""
    length = tf.clip_by_value(tf.round(share * size), 1, size)
    start = tf.floor(place * (size - length + 1))
    position = tf.range(size, dtype=tf.float32)[None, :]
    return tf.logical_and(position >= start[:, None], position < (start + length)[:, None])
