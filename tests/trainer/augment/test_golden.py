"""Stored pictures of every operation: a change of pixels must be meant.

After a change that is meant, `UPDATE_GOLDEN=1 pytest tests/trainer/augment/test_golden.py` writes
them again; look at them before committing.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.trainer.augment.configurations import EVERYTHING, SINGLE, make_config
from tests.trainer.augment.conftest import Batch
from trainer.augment.batch import augment_batch

FOLDER = Path(__file__).parent / "golden"
IMAGE_PX = 32
NUM_PICTURES = 4
MIXED = {"mixup": {"mixup_alpha": 0.8}, "cutmix": {"cutmix_alpha": 1.0}, "everything": EVERYTHING}
CONFIGURATIONS = SINGLE | MIXED


def _strip(batch: Batch, fields: dict) -> np.ndarray:
    """The first pictures side by side, uint8 [IMAGE_PX, NUM_PICTURES * IMAGE_PX, 3]."""
    parts = [tf.constant(part[:NUM_PICTURES]) for part in batch]
    images, _ = augment_batch(*parts, make_config(fields), IMAGE_PX)
    return np.concatenate(np.round(images.numpy()).astype(np.uint8), axis=1)


@pytest.mark.parametrize("name", list(CONFIGURATIONS))
def test_pixels_are_as_stored(batch: Batch, name: str) -> None:
    path = FOLDER / f"{name}.png"
    pixels = _strip(batch, CONFIGURATIONS[name])
    if os.environ.get("UPDATE_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, optimize=True)
        pytest.skip(f"{path.name} was written anew")
    stored = np.asarray(Image.open(path)).astype(int)
    difference = np.abs(pixels - stored)
    # Rounding differs between machines, and CLAHE turns one level into a few.
    assert (difference <= 1).mean() > 0.995, f"{name} differs by up to {difference.max()} levels"


def test_every_stored_picture_is_used() -> None:
    assert {path.stem for path in FOLDER.glob("*.png")} == set(CONFIGURATIONS)
