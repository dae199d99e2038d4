"""The two ways from stored canvases to what the network sees: training and evaluation.

Both are pure functions of tensors with static shapes, for use inside of a compiled step.
Operations that are off are not in the graph at all.
"""

import math

import tensorflow as tf

from trainer.augment.color import adjust_color
from trainer.augment.config import IDENTITY, Augmentation, View
from trainer.augment.draws import Draws, Operation
from trainer.augment.erasing import erase
from trainer.augment.geometry import Box, evaluation_box, random_crop_box, shift_and_zoom, view_box
from trainer.augment.mixing import mix
from trainer.augment.resample import resample


def augment_batch(
    canvases: tf.Tensor,
    aspect: tf.Tensor,
    labels_one_hot: tf.Tensor,
    seeds: tf.Tensor,
    config: Augmentation,
    image_px: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Training pictures: geometry, then adaptive gamma, CLAHE, colour, erasing, mixing.

    An example's result depends on its canvas, aspect and seed alone, and, where the stage mixes,
    on its partner in the pair (2i, 2i + 1); never on its place in the batch.

    Args:
      canvases: uint8 [B, S, S, 3], each photo squashed to a square.
      aspect: float32 [B], width over height of the photo before that.
      labels_one_hot: float32 [B, K].
      seeds: int32 [B, 2], a function of (run seed, epoch, record index).
      config: what to do; static.
      image_px: side of the result; static.

    Returns:
      images float32 [B, image_px, image_px, 3] in 0..255 and labels float32 [B, K].
    """
    canvases = _checked(canvases)
    draws = Draws(seeds, _operations(config))
    box = evaluation_box(aspect, config.resize, config.center_fraction)
    if config.crops:
        box = random_crop_box(aspect, config, draws)
    box = shift_and_zoom(box, config, draws)
    mirror = draws.chance(Operation.MIRROR, config.mirror) if config.mirror > 0 else None
    margin = _margin_px(canvases.shape[1], config.shift + config.zoom / 2)
    images = _look(canvases, box, image_px, mirror, config, margin)
    if config.brightness or config.contrast or config.saturation or config.hue_degrees:
        images = adjust_color(images, config, draws)
    if config.erasing > 0:
        images = erase(images, config, draws)
    labels = tf.cast(labels_one_hot, tf.float32)
    if config.mixes:
        images, labels = mix(images, labels, config, draws)
    return images, labels


def evaluation_batch(
    canvases: tf.Tensor,
    aspect: tf.Tensor,
    config: Augmentation,
    image_px: int,
    view: View = IDENTITY,
) -> tf.Tensor:
    """Evaluation pictures: the configured resize and the operations that are always on.

    With every random operation off, `augment_batch` gives exactly these pixels.

    Args:
      canvases: uint8 [B, S, S, 3], each photo squashed to a square.
      aspect: float32 [B], width over height of the photo before that.
      config: the stage's augmentation; its random operations are ignored; static.
      image_px: side of the result; static.
      view: one of the looks of test-time augmentation; static.

    Returns:
      images float32 [B, image_px, image_px, 3] in 0..255.
    """
    canvases = _checked(canvases)
    box = view_box(evaluation_box(aspect, config.resize, config.center_fraction), view)
    mirror = tf.ones_like(aspect, tf.bool) if view.mirror else None
    margin = _margin_px(canvases.shape[1], max(1 / view.scale - 1, 0) / 2)
    return _look(canvases, box, image_px, mirror, config, margin)


def _operations(config: Augmentation) -> list[Operation]:
    """The streams that this configuration draws from."""
    switches = {
        Operation.CROP: config.crops,
        Operation.MIRROR: config.mirror,
        Operation.ROTATION: config.rotation_degrees,
        Operation.SHIFT: config.shift,
        Operation.ZOOM: config.zoom,
        Operation.BRIGHTNESS: config.brightness,
        Operation.CONTRAST: config.contrast,
        Operation.SATURATION: config.saturation,
        Operation.HUE: config.hue_degrees,
        Operation.CLAHE: config.clahe,
        Operation.ADAPTIVE_GAMMA: config.adaptive_gamma,
        Operation.ERASING: config.erasing,
        Operation.MIX_CHOICE: config.mixes,
        Operation.MIXUP: config.mixes,
        Operation.CUTMIX: config.mixes,
        Operation.CUTMIX_BOX: config.mixes,
    }
    return [operation for operation, switch in switches.items() if switch]


def _look(
    canvases: tf.Tensor,
    box: Box,
    image_px: int,
    mirror: tf.Tensor | None,
    config: Augmentation,
    margin_px: int,
) -> tf.Tensor:
    """Resamples with what the configuration puts past the photo: bars, or its reflection."""
    if config.resize == "pad":
        return resample(canvases, box, image_px, mirror, outside=float(config.pad_value))
    return resample(canvases, box, image_px, mirror, margin_px=margin_px)


def _margin_px(canvas_px: int, overrun: float) -> int:
    """Canvas pixels that a box may reach past the photo, given that as a share of its side."""
    return min(math.ceil(canvas_px * overrun), canvas_px)


def _checked(canvases: tf.Tensor) -> tf.Tensor:
    canvases = tf.convert_to_tensor(canvases)
    shape = canvases.shape
    if shape.rank != 4 or shape[1] != shape[2] or shape[3] != 3 or canvases.dtype != tf.uint8:
        raise ValueError(
            f"canvases are {canvases.dtype.name} {shape}; they must be uint8 [B, S, S, 3]. "
            "Squash each photo to a square before it is shipped to the device."
        )
    return canvases
