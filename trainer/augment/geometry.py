"""Which part of a photo the network sees, as boxes in shares of the photo's width and height.

A box is (center x, center y, width, height), each float32 [B]; (0.5, 0.5, 1, 1) is the whole
photo. Boxes may reach past the photo.

Shape suffixes: B batch, A attempts.
"""

from typing import NamedTuple

import tensorflow as tf

from trainer.augment.config import Augmentation, Resize, View
from trainer.augment.draws import Draws, Operation

_NUM_CROP_ATTEMPTS = 10


class Box(NamedTuple):
    """A rectangle in shares of the photo, each field float32 [B]."""

    center_x: tf.Tensor
    center_y: tf.Tensor
    width: tf.Tensor
    height: tf.Tensor


def evaluation_box(aspect_b: tf.Tensor, resize: Resize, center_fraction: float) -> Box:
    """The part of the photo that evaluation squeezes into its square.

    Args:
      aspect_b: float32 [B], width over height of the photo as it was taken, > 0.
      resize: see `Augmentation.resize`.
      center_fraction: see `Augmentation.center_fraction`.
    """
    one = tf.ones_like(aspect_b)
    width, height = {
        "squash": (one, one),
        "center_crop": (tf.minimum(1 / aspect_b, 1), tf.minimum(aspect_b, 1)),
        "pad": (tf.maximum(1 / aspect_b, 1), tf.maximum(aspect_b, 1)),
    }[resize]
    return Box(0.5 * one, 0.5 * one, width * center_fraction, height * center_fraction)


def view_box(box: Box, view: View) -> Box:
    """The part of `box` that one test-time view shows."""
    width, height = box.width / view.scale, box.height / view.scale
    center_x, center_y = box.center_x, box.center_y
    if view.anchor != "center":
        to_left = -0.5 if view.anchor.endswith("left") else 0.5
        to_top = -0.5 if view.anchor.startswith("top") else 0.5
        center_x = center_x + to_left * (box.width - width)
        center_y = center_y + to_top * (box.height - height)
    return Box(center_x, center_y, width, height)


def random_crop_box(aspect_b: tf.Tensor, config: Augmentation, draws: Draws) -> Box:
    """A random resized crop, by torchvision's rule, without rounding to whole pixels.

    Area is uniform, ratio log-uniform; the first of ten attempts that fits is taken, else the
    largest centred box with a ratio inside of the range. The box is drawn inside of what
    evaluation would stretch: under "squash" the photo taken as a square, under "pad" the padded
    square, under "center_crop" the photo in its true shape. So a crop of ratio 1 is distorted
    exactly as the evaluation picture is.

    Source: Szegedy et al., "Going deeper with convolutions", 2014, section 6;
    torchvision.transforms.RandomResizedCrop.
    """
    low_ratio, high_ratio = config.crop_ratio
    whole = evaluation_box(aspect_b, "pad" if config.resize == "pad" else "squash", 1.0)
    shape_b = aspect_b if config.resize == "center_crop" else tf.ones_like(aspect_b)
    shape_ba = shape_b[:, tf.newaxis]

    uniform = draws.uniform(Operation.CROP, 2 * _NUM_CROP_ATTEMPTS + 2)
    area_ba = _between(uniform[:, :_NUM_CROP_ATTEMPTS], *config.crop_area)
    log_ratio_ba = _between(
        uniform[:, _NUM_CROP_ATTEMPTS:-2], tf.math.log(low_ratio), tf.math.log(high_ratio)
    )
    width_ba = tf.sqrt(area_ba * tf.exp(log_ratio_ba) / shape_ba)
    height_ba = tf.sqrt(area_ba / tf.exp(log_ratio_ba) * shape_ba)

    fits_ba = tf.logical_and(width_ba <= 1, height_ba <= 1)
    first_b = tf.argmax(tf.cast(fits_ba, tf.int32), axis=1, output_type=tf.int32)
    chosen_ba = tf.one_hot(first_b, _NUM_CROP_ATTEMPTS)
    fits_b = tf.reduce_any(fits_ba, axis=1)
    fallback_width = tf.minimum(1.0, high_ratio / shape_b)
    fallback_height = tf.minimum(1.0, shape_b / low_ratio)
    width = tf.where(fits_b, tf.reduce_sum(chosen_ba * width_ba, axis=1), fallback_width)
    height = tf.where(fits_b, tf.reduce_sum(chosen_ba * height_ba, axis=1), fallback_height)
    move_x = tf.where(fits_b, uniform[:, -2] - 0.5, 0.0) * (1 - width)
    move_y = tf.where(fits_b, uniform[:, -1] - 0.5, 0.0) * (1 - height)
    return Box(
        whole.center_x + move_x * whole.width,
        whole.center_y + move_y * whole.height,
        width * whole.width,
        height * whole.height,
    )


def shift_and_zoom(box: Box, config: Augmentation, draws: Draws) -> Box:
    """Moves a box by a share of its size and changes its size, keeping its shape."""
    center_x, center_y, width, height = box
    if config.shift > 0:
        uniform = draws.uniform(Operation.SHIFT, 2)
        center_x = center_x + _between(uniform[:, 0], -config.shift, config.shift) * width
        center_y = center_y + _between(uniform[:, 1], -config.shift, config.shift) * height
    if config.zoom > 0:
        factor = _between(draws.uniform(Operation.ZOOM, 1)[:, 0], 1 - config.zoom, 1 + config.zoom)
        width, height = width * factor, height * factor
    return Box(center_x, center_y, width, height)


def _between(uniform: tf.Tensor, low: tf.Tensor | float, high: tf.Tensor | float) -> tf.Tensor:
    return low + uniform * (high - low)
