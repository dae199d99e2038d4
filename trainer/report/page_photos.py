"""Photos on the page: what the network saw, where it looked, and what it said."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from trainer.inference import TrainedRun

_AREA_PX = 168**2
_JPEG_QUALITY = 78

Pictures = dict[tuple[int, int], tuple[str, str]]
"""(record, class) -> data URIs of the photo and of the photo with the heat map of that class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoCard:
    """One photo of the page."""

    id: str
    photo: str
    """Data URI."""
    heat: str
    """Data URI; the heat map is that of `predicted`."""
    lines: tuple[tuple[str, str, float], ...]
    """(what, class, calibrated probability)"""


def draw_pictures(
    run: "TrainedRun", data_dir: str, split_name: str, wanted: Sequence[tuple[int, int]]
) -> Pictures:
    """Draws photos with the evidence for a class, each pair once."""
    from trainer.gradcam import look_at_records, overlay

    pairs = sorted(set(wanted))
    if not pairs:
        return {}
    indices = np.array([index for index, _ in pairs])
    classes = np.array([name for _, name in pairs])
    looks = look_at_records(run, data_dir, split_name, indices, classes)
    aspects = looks.aspects
    # Only a squashed photo has lost its shape.
    if run.augmentation.resize != "squash":
        aspects = np.ones_like(aspects)
    return {
        pair: (_data_uri(image, aspect), _data_uri(overlay(image, heat), aspect))
        for pair, image, heat, aspect in zip(
            pairs, looks.images, looks.maps, aspects.tolist(), strict=True
        )
    }


def most_confident_mistakes(probabilities: np.ndarray, labels: np.ndarray, count: int) -> list[int]:
    """Indices of wrong predictions [N, K], those with the highest probability first."""
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    confidence = probabilities[wrong, predicted[wrong]]
    chosen: list[int] = wrong[np.argsort(-confidence, kind="stable")][:count].tolist()
    return chosen


def make_card(
    pictures: Pictures,
    ids: Sequence[str],
    index: int,
    heat_class: int,
    lines: Sequence[tuple[str, int, float]],
    names: Sequence[str],
) -> PhotoCard:
    """The card of one record, its lines by class index."""
    photo, heat = pictures[index, heat_class]
    return PhotoCard(
        id=ids[index],
        photo=photo,
        heat=heat,
        lines=tuple((what, names[name], probability) for what, name, probability in lines),
    )


def _data_uri(image: np.ndarray, aspect: float) -> str:
    aspect = min(max(aspect, 0.5), 2.0)
    width = round(math.sqrt(_AREA_PX * aspect))
    picture = Image.fromarray(image).resize(
        (width, round(_AREA_PX / width)), Image.Resampling.LANCZOS
    )
    with io.BytesIO() as file:
        picture.save(file, "JPEG", quality=_JPEG_QUALITY, optimize=True)
        return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
