"""A picture of what the network really sees: per stage, before and after each operation."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from trainer.augment.batch import augment_batch, evaluation_batch
from trainer.augment.config import Augmentation

_GAP_PX = 6
_TEXT_PX = 13

# In the order in which the chain applies them.
_LABELS = {
    "mirror": "mirror",
    "rotation_degrees": "rotation ±{:g}°",
    "shift": "shift ±{:g}",
    "zoom": "zoom ±{:g}",
    "adaptive_gamma": "adaptive gamma",
    "clahe": "clahe",
    "brightness": "brightness ±{:g}",
    "contrast": "contrast ±{:g}",
    "saturation": "saturation ±{:g}",
    "hue_degrees": "hue ±{:g}°",
    "erasing": "erasing",
    "mixup_alpha": "mixup {:g}",
    "cutmix_alpha": "cutmix {:g}",
}
_PROBABILITIES = ("mirror", "adaptive_gamma", "clahe", "erasing")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StagePreview:
    """What the sheet shows of one stage."""

    name: str
    """Heading, for instance "stage 2"."""
    augmentation: Augmentation
    image_px: int
    """Side of what the network sees."""
    canvases: np.ndarray
    """uint8 [B, S, S, 3], the photos as they are stored for this stage."""
    aspect: np.ndarray
    """float32 [B], width over height of the photos."""


def contact_sheet(stages: Sequence[StagePreview], cell_px: int = 128, seed: int = 0) -> np.ndarray:
    """Draws one block per stage with a row per photo.

    Columns: the stored canvas, the evaluation picture, the picture after each single operation of
    the stage (shown on every photo, whatever its probability), and two results of the whole chain
    with the real probabilities.

    Args:
      stages: what to show.
      cell_px: side of a picture on the sheet; pictures are shrunk or enlarged to it.
      seed: of the random operations.

    Returns:
      uint8 [height, width, 3], for a PNG or a TensorBoard image.
    """
    blocks = [_draw_stage(stage, cell_px, seed) for stage in stages]
    width = max(block.width for block in blocks)
    sheet = Image.new("RGB", (width, sum(block.height for block in blocks)), "white")
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    return np.asarray(sheet)


def write_contact_sheet(
    path: str, stages: Sequence[StagePreview], cell_px: int = 128, seed: int = 0
) -> None:
    """Writes the sheet as a PNG file, local or `gs://`."""
    png = tf.io.encode_png(contact_sheet(stages, cell_px, seed))
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(png.numpy())


def single_operations(config: Augmentation) -> dict[str, Augmentation]:
    """Each operation that is on, alone and surely, under a label that tells its setting."""
    off = Augmentation(
        resize=config.resize,
        center_fraction=config.center_fraction,
        pad_value=config.pad_value,
        clahe_clip_limit=config.clahe_clip_limit,
        clahe_tiles=config.clahe_tiles,
        erasing_area=config.erasing_area,
        erasing_ratio=config.erasing_ratio,
    )
    operations: dict[str, Augmentation] = {}
    if config.crops:
        low, high = config.crop_area
        operations[f"crop {low:.2g}..{high:.2g}"] = dataclasses.replace(
            off, crop_area=config.crop_area, crop_ratio=config.crop_ratio
        )
    for name, words in _LABELS.items():
        value = getattr(config, name)
        if not value or (name in ("mixup_alpha", "cutmix_alpha") and not config.mixes):
            continue
        surely: dict[str, Any] = {name: value}
        label = words.format(value)
        if name in _PROBABILITIES:
            surely = {name: 1.0}
            label = f"{words}, always" if value == "always" else f"{words}, p {value:g}"
        operations[label] = dataclasses.replace(off, **surely)
    return operations


def _draw_stage(stage: StagePreview, cell_px: int, seed: int) -> Image.Image:
    columns = _columns(stage, seed)
    num_photos = len(stage.canvases)
    step = cell_px + _GAP_PX
    heading_px = 3 * _TEXT_PX + 2 * _GAP_PX
    size = (_GAP_PX + step * len(columns), heading_px + step * num_photos)
    block = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(block)
    heading = f"{stage.name}: {stage.image_px} px from canvases of {stage.canvases.shape[1]} px"
    draw.text((_GAP_PX, _GAP_PX), heading, "black", ImageFont.load_default(_TEXT_PX + 2))
    for index, (label, pictures) in enumerate(columns.items()):
        left = _GAP_PX + index * step
        place = (left, heading_px - _TEXT_PX - _GAP_PX // 2)
        draw.text(place, label, "black", _font_that_fits(label, cell_px))
        for row, picture in enumerate(pictures):
            cell = Image.fromarray(np.clip(np.round(picture), 0, 255).astype(np.uint8))
            cell = cell.resize((cell_px, cell_px), Image.Resampling.BICUBIC)
            block.paste(cell, (left, heading_px + row * step))
    return block


def _font_that_fits(text: str, width_px: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    font = ImageFont.load_default(_TEXT_PX - 2)
    return ImageFont.load_default((_TEXT_PX - 2) * min(1.0, width_px / font.getlength(text)))


def _columns(stage: StagePreview, seed: int) -> dict[str, np.ndarray]:
    """Pictures under their labels, each [B, side, side, 3]."""
    num_photos = len(stage.canvases)
    canvases = tf.constant(stage.canvases)
    aspect = tf.constant(stage.aspect, tf.float32)
    labels = tf.zeros([num_photos, 1])

    def augmented(config: Augmentation, draw: int) -> np.ndarray:
        seeds = np.stack([np.full(num_photos, seed), np.arange(num_photos) + 1000 * draw], axis=1)
        images, _ = augment_batch(
            canvases, aspect, labels, tf.constant(seeds, tf.int32), config, stage.image_px
        )
        return images.numpy()

    config = stage.augmentation
    columns = {
        "canvas": stage.canvases,
        "evaluation": evaluation_batch(canvases, aspect, config, stage.image_px).numpy(),
    }
    for label, single in single_operations(config).items():
        columns[label] = augmented(single, 0)
    columns["training, 1st epoch"] = augmented(config, 1)
    columns["training, 2nd epoch"] = augmented(config, 2)
    return columns
