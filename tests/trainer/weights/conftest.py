"""A trunk small enough to write to disk in every layout: B0, 4 million random numbers."""

import numpy as np
import pytest

from tests.trainer.weights.written import random_arrays
from trainer.weights.backbones import trunk_shapes


@pytest.fixture(scope="session")
def b0() -> dict[str, np.ndarray]:
    """Random values for every variable of EfficientNetB0's trunk; do not change them."""
    arrays = random_arrays(trunk_shapes("EfficientNetB0"))
    for values in arrays.values():
        values.flags.writeable = False
    return arrays
