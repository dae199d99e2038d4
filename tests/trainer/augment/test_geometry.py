"""Which part of a photo is seen, against Pillow's fit and pad and torchvision's rule."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageFilter, ImageOps
from scipy import stats

from tests.trainer.augment.pictures import make_picture
from trainer.augment.batch import evaluation_batch
from trainer.augment.config import Augmentation, View
from trainer.augment.draws import Draws, Operation
from trainer.augment.geometry import evaluation_box, random_crop_box, shift_and_zoom, view_box

SIZES = [(60, 60), (90, 45), (40, 80)]


def _crop(config: Augmentation, aspect: float, num: int = 2000) -> tuple[np.ndarray, ...]:
    seeds = np.stack([np.arange(num), np.ones(num)], 1).astype(np.int32)
    draws = Draws(tf.constant(seeds), [Operation.CROP])
    box = random_crop_box(tf.fill([num], np.float32(aspect)), config, draws)
    return tuple(x.numpy() for x in box)


def _reference_crop(
    aspect: float, area: tuple[float, float], ratio: tuple[float, float], num: int
) -> np.ndarray:
    """torchvision's RandomResizedCrop.get_params in shares of the photo: width, height, left."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(num):
        for _ in range(10):
            target = rng.uniform(*area) * aspect
            drawn = np.exp(rng.uniform(*np.log(ratio)))
            width, height = np.sqrt(target * drawn) / aspect, np.sqrt(target / drawn)
            if width <= 1 and height <= 1:
                rows.append((width, height, rng.uniform(0, 1 - width)))
                break
        else:
            width, height = min(1, ratio[1] / aspect), min(1, aspect / ratio[0])
            rows.append((width, height, (1 - width) / 2))
    return np.array(rows)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", ["squash", "center_crop", "pad"])
def test_evaluation_equals_pillow(resize: str, size: tuple[int, int]) -> None:
    photo = Image.fromarray(make_picture(3, size)).filter(ImageFilter.GaussianBlur(2))
    canvas = np.asarray(photo.resize((80, 80), Image.Resampling.BILINEAR))
    square = (40, 40)
    expected = {
        "squash": lambda: photo.resize(square, Image.Resampling.BILINEAR),
        "center_crop": lambda: ImageOps.fit(photo, square, Image.Resampling.BILINEAR),
        "pad": lambda: ImageOps.pad(photo, square, Image.Resampling.BILINEAR, color=(9, 9, 9)),
    }[resize]()
    config = Augmentation(resize=resize, pad_value=9)
    aspect = np.float32([size[0] / size[1]])
    ours = evaluation_batch(canvas[None], aspect, config, 40).numpy()[0]
    # The canvas is one interpolation more; a box that is off by one pixel differs by 4 and more.
    assert np.abs(ours - np.asarray(expected)).mean() < 2.5


def test_center_fraction_keeps_the_middle() -> None:
    box = evaluation_box(tf.constant([2.0]), "center_crop", 0.875)
    np.testing.assert_allclose([float(x[0]) for x in box], [0.5, 0.5, 0.4375, 0.875])


@pytest.mark.parametrize("aspect", [0.4, 1.0, 1.5, 3.0])
def test_crops_are_distributed_as_torchvisions(aspect: float) -> None:
    area, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
    config = Augmentation(resize="center_crop", crop_area=area, crop_ratio=ratio)
    center_x, _, width, height = _crop(config, aspect)
    reference = _reference_crop(aspect, area, ratio, 4000)
    for ours, theirs in zip((width, height, center_x - width / 2), reference.T, strict=True):
        assert stats.ks_2samp(ours.round(5), theirs.round(5)).pvalue > 0.001


@pytest.mark.parametrize("resize", ["squash", "center_crop"])
@pytest.mark.parametrize("aspect", [1e-4, 0.5, 1.7, 1e4])
def test_crops_stay_inside_of_the_photo(resize: str, aspect: float) -> None:
    config = Augmentation(resize=resize, crop_area=(0.3, 1.0), crop_ratio=(0.5, 2.0))
    center_x, center_y, width, height = _crop(config, aspect)
    for center, size in ((center_x, width), (center_y, height)):
        assert size.min() > 0
        assert (center - size / 2).min() >= -1e-6
        assert (center + size / 2).max() <= 1 + 1e-6


@pytest.mark.parametrize("resize", ["squash", "pad"])
def test_crop_of_ratio_one_is_stretched_as_evaluation_is(resize: str) -> None:
    config = Augmentation(resize=resize, crop_area=(0.3, 1.0))
    _, _, width, height = _crop(config, 1.6, num=50)
    evaluated = evaluation_box(tf.constant([1.6]), resize, 1.0)
    expected = float(evaluated.width[0] / evaluated.height[0])
    np.testing.assert_allclose(width / height, expected, rtol=1e-5)


def test_shift_and_zoom_stay_in_their_ranges() -> None:
    num = 2000
    seeds = tf.constant(np.stack([np.arange(num), np.ones(num)], 1).astype(np.int32))
    draws = Draws(seeds, [Operation.SHIFT, Operation.ZOOM])
    start = evaluation_box(tf.ones([num]), "squash", 1.0)
    box = shift_and_zoom(start, Augmentation(shift=0.1, zoom=0.2), draws)
    for center in (box.center_x, box.center_y):
        assert stats.kstest(center, "uniform", (0.4, 0.2)).pvalue > 0.01
    assert stats.kstest(box.width, "uniform", (0.8, 0.4)).pvalue > 0.01
    np.testing.assert_array_equal(box.width, box.height)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(), (0.5, 0.5, 1, 1)),
        (View(scale=2.0), (0.5, 0.5, 0.5, 0.5)),
        (View(scale=0.5), (0.5, 0.5, 2, 2)),
        (View(scale=2.0, anchor="top_left"), (0.25, 0.25, 0.5, 0.5)),
        (View(scale=2.0, anchor="top_right"), (0.75, 0.25, 0.5, 0.5)),
        (View(scale=2.0, anchor="bottom_left"), (0.25, 0.75, 0.5, 0.5)),
        (View(scale=2.0, anchor="bottom_right"), (0.75, 0.75, 0.5, 0.5)),
    ],
)
def test_view_box(view: View, expected: tuple[float, ...]) -> None:
    box = view_box(evaluation_box(tf.ones([1]), "squash", 1.0), view)
    np.testing.assert_allclose([float(x[0]) for x in box], expected)
