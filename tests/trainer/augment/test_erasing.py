"""Random erasing: a box of one colour, of the configured size, anywhere."""

import numpy as np
import tensorflow as tf

from trainer.augment.config import Augmentation
from trainer.augment.draws import Draws, Operation
from trainer.augment.erasing import erase


def _erase(num: int, config: Augmentation, size: int = 40) -> np.ndarray:
    """Which pixels of pictures of an impossible grey level were overwritten; bool [num, H, W]."""
    seeds = np.stack([np.arange(num), np.zeros(num)], 1).astype(np.int32)
    draws = Draws(tf.constant(seeds), [Operation.ERASING])
    images = erase(tf.fill([num, size, size, 3], 0.5), config, draws).numpy()
    for image in images:
        colors = np.unique(image.reshape(-1, 3), axis=0)
        assert len(colors) <= 2
    return (images != 0.5).any(-1)


def test_erases_one_box_of_the_configured_area_and_ratio() -> None:
    config = Augmentation(erasing=1.0, erasing_area=(0.1, 0.2), erasing_ratio=(0.5, 2.0))
    for erased in _erase(200, config):
        rows, columns = erased.any(1).sum(), erased.any(0).sum()
        assert erased.sum() == rows * columns
        assert 0.08 <= erased.mean() <= 0.22
        assert 0.45 <= columns / rows <= 2.2


def test_place_is_uniform_to_the_borders() -> None:
    erased = _erase(600, Augmentation(erasing=1.0, erasing_area=(0.05, 0.05)))
    first_rows = erased.any(2).argmax(1)
    last_rows = 39 - erased.any(2)[:, ::-1].argmax(1)
    assert first_rows.min() == 0
    assert last_rows.max() == 39


def test_happens_with_its_probability() -> None:
    touched = _erase(1000, Augmentation(erasing=0.3), size=12).any((1, 2))
    assert 0.25 < touched.mean() < 0.35


def test_box_longer_than_the_picture_is_cut() -> None:
    config = Augmentation(erasing=1.0, erasing_area=(1.0, 1.0), erasing_ratio=(4.0, 4.0))
    for erased in _erase(20, config):
        assert (erased.any(1).sum(), erased.any(0).sum()) == (20, 40)
