"""A small batch for every test of the operations."""

from typing import NamedTuple

import numpy as np
import pytest

from tests.trainer.augment.pictures import make_canvases


class Batch(NamedTuple):
    canvases: np.ndarray
    aspect: np.ndarray
    labels: np.ndarray
    seeds: np.ndarray


@pytest.fixture(scope="session")
def batch() -> Batch:
    """Eight canvases of 40 px, of wide and tall photos, in four classes."""
    num = 8
    return Batch(
        canvases=make_canvases(num, 40),
        aspect=np.float32([1.0, 1.5, 0.5, 2.0, 1.33, 0.75, 1.0, 3.0]),
        labels=np.eye(4, dtype=np.float32)[np.arange(num) % 4],
        seeds=np.random.default_rng(7).integers(-(2**31), 2**31, (num, 2)).astype(np.int32),
    )
