"""The two ways from stored canvases to what the network sees: training and evaluation.

Both are pure functions of tensors with static shapes, for use inside of a compiled step.
Operations that are off are not in the graph at all.
"""

import dataclasses
import math

import tensorflow as tf

from trainer.augment.clahe import clahe
from trainer.augment.color import adjust_color
from trainer.augment.config import IDENTITY, Augmentation, View
from trainer.augment.draws import Draws, Operation
from trainer.augment.erasing import erase
from trainer.augment.gamma import adaptive_gamma
from trainer.augment.geometry import Box, evaluation_box, random_crop_box, shift_and_zoom, view_box
from trainer.augment.kernels import Kernels, default_kernels, fuse
from trainer.augment.mixing import mix
from trainer.augment.resample import resample


def augment_batch(
    canvases: tf.Tensor,
    aspect: tf.Tensor,
    labels_one_hot: tf.Tensor,
    seeds: tf.Tensor,
    config: Augmentation,
    image_px: int,
    kernels: Kernels | None = None,
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
      kernels: how to compute; None asks for this machine's best, see `default_kernels`.

    Returns:
      images float32 [B, image_px, image_px, 3] in 0..255 and labels float32 [B, K].
    """
    canvases = _checked(canvases)
    kernels = kernels or default_kernels()
    draws = Draws(seeds, _operations(config))
    box = evaluation_box(aspect, config.resize, config.center_fraction)
    if config.crops:
        box = random_crop_box(aspect, config, draws)
    box = shift_and_zoom(box, config, draws)
    mirror = draws.chance(Operation.MIRROR, config.mirror) if config.mirror > 0 else None
    turn = math.radians(config.rotation_degrees)
    angle = turn * (2 * draws.uniform(Operation.ROTATION, 1)[:, 0] - 1) if turn else None
    look = _Look(
        box=box,
        mirror=mirror,
        angle=angle,
        max_angle=turn,
        max_size=1 + config.zoom,
        max_shift=config.shift,
    )
    images = _resample(canvases, look, config, image_px, kernels)
    images = _enhance(images, config, kernels, draws)
    if config.brightness or config.contrast or config.saturation or config.hue_degrees:
        images = adjust_color(images, config, draws, kernels)
    if config.erasing > 0:
        images = erase(images, config, draws, kernels)
    labels = tf.cast(labels_one_hot, tf.float32)
    if config.mixes:
        images, labels = mix(images, labels, config, draws, kernels)
    return images, labels


def evaluation_batch(
    canvases: tf.Tensor,
    aspect: tf.Tensor,
    config: Augmentation,
    image_px: int,
    view: View = IDENTITY,
    kernels: Kernels | None = None,
) -> tf.Tensor:
    """Evaluation pictures: the configured resize and the operations that are always on.

    With every random operation off, `augment_batch` gives exactly these pixels.

    Args:
      canvases: uint8 [B, S, S, 3], each photo squashed to a square.
      aspect: float32 [B], width over height of the photo before that.
      config: the stage's augmentation; its random operations are ignored; static.
      image_px: side of the result; static.
      view: one of the looks of test-time augmentation; static.
      kernels: how to compute; None asks for this machine's best. Exported graphs take "matrix",
        which holds plain operations only.

    Returns:
      images float32 [B, image_px, image_px, 3] in 0..255.
    """
    canvases = _checked(canvases)
    kernels = kernels or default_kernels()
    box = view_box(evaluation_box(aspect, config.resize, config.center_fraction), view)
    mirror = tf.ones_like(aspect, tf.bool) if view.mirror else None
    look = _Look(box=box, mirror=mirror, max_size=max(1 / view.scale, 1.0))
    images = _resample(canvases, look, config, image_px, kernels)
    return _enhance(images, config, kernels, draws=None)


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


def _enhance(
    images: tf.Tensor, config: Augmentation, kernels: Kernels, draws: Draws | None
) -> tf.Tensor:
    """Adaptive gamma, then CLAHE: always, or in training by chance; `draws` None in evaluation."""
    for operation, setting, enhance in (
        (Operation.ADAPTIVE_GAMMA, config.adaptive_gamma, _gamma),
        (Operation.CLAHE, config.clahe, _clahe),
    ):
        if setting == "always":
            images = enhance(images, config, kernels)
        elif setting > 0 and draws is not None:
            chosen = draws.chance(operation, setting)[:, None, None, None]
            images = tf.where(chosen, enhance(images, config, kernels), images)
    return images


def _gamma(images: tf.Tensor, config: Augmentation, kernels: Kernels) -> tf.Tensor:
    return fuse(kernels, adaptive_gamma, images)


def _clahe(images: tf.Tensor, config: Augmentation, kernels: Kernels) -> tf.Tensor:
    return clahe(images, config.clahe_clip_limit, config.clahe_tiles, kernels)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """Where each picture of a batch looks, and static bounds on that."""

    box: Box
    mirror: tf.Tensor | None
    angle: tf.Tensor | None = None
    max_angle: float = 0.0
    max_size: float = 1.0
    max_shift: float = 0.0

    def margin_px(self, canvas_px: int) -> int:
        """Canvas pixels that a look can reach past a photo's border."""
        turned = self.max_size * (math.cos(self.max_angle) + math.sin(self.max_angle))
        overrun = (turned - 1) / 2 + self.max_shift
        neighbours = 2 if self.max_angle else 0
        return min(math.ceil(canvas_px * overrun) + neighbours, canvas_px)


def _resample(
    canvases: tf.Tensor, look: _Look, config: Augmentation, image_px: int, kernels: Kernels
) -> tf.Tensor:
    """Resamples with what the configuration puts past the photo: bars, or its reflection."""
    if config.resize != "pad":
        return resample(
            canvases,
            look.box,
            image_px,
            mirror_b=look.mirror,
            angle_b=look.angle,
            max_angle=look.max_angle,
            margin_px=look.margin_px(canvases.shape[1]),
            max_size=look.max_size,
            kernels=kernels,
        )
    # A padded box of a long photo is any number of photos high, so its taps have no bound.
    outside = float(config.pad_value)
    images = resample(canvases, look.box, image_px, mirror_b=look.mirror, outside=outside)
    if look.angle is None:
        return images
    turned = _Look(
        box=evaluation_box(tf.ones_like(look.angle), "squash", 1.0),
        mirror=None,
        angle=look.angle,
        max_angle=look.max_angle,
    )
    return resample(
        images,
        turned.box,
        image_px,
        angle_b=look.angle,
        max_angle=look.max_angle,
        outside=outside,
        margin_px=turned.margin_px(image_px),
        max_size=1.0,
        kernels=kernels,
    )


def _checked(canvases: tf.Tensor) -> tf.Tensor:
    canvases = tf.convert_to_tensor(canvases)
    shape = canvases.shape
    if shape.rank != 4 or shape[1] != shape[2] or shape[3] != 3 or canvases.dtype != tf.uint8:
        raise ValueError(
            f"canvases are {canvases.dtype.name} {shape}; they must be uint8 [B, S, S, 3]. "
            "Squash each photo to a square before it is shipped to the device."
        )
    return canvases
