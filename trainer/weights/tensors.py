"""The plain data of this package: tensors as a file stores them, and as the network takes them."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfrecords_builder.errors import UserError

# Layer names of the trunk, as in `keras.applications`: stem, blocks ("block4c_se_reduce"), top.
TRUNK_LAYER = re.compile(r"(stem|top)_(conv|bn)|block\d+[a-z]_\w+")
HEAD_PREFIX = "head_"

Shape = tuple[int, ...]
Arrays = dict[str, np.ndarray]


class WeightsError(UserError):
    """Weights that cannot be read, or that do not fit the network."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTensor:
    """One tensor of a file; its values are read only when asked for."""

    name: str
    """As the file writes it."""
    key: str
    """`<layer>/<variable>` in the names of Keras 3, e.g. `stem_bn/gamma`."""
    shape: Shape
    dtype: str
    read: Callable[[], np.ndarray]
    """Reads the values. Only valid while the file is open."""
    left_out: str = ""
    """Why the network never takes it (an optimizer slot, say); empty: a candidate."""

    @property
    def layer(self) -> str:
        """The part of the key that names the layer."""
        return self.key.rpartition("/")[0]

    @property
    def in_trunk(self) -> bool:
        """Whether it belongs to the stem, a block or the top of an EfficientNet."""
        return not self.left_out and TRUNK_LAYER.fullmatch(self.layer) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightFile:
    """What one opened source holds."""

    source: str
    format: str
    """In words, for messages: "Keras 3 weights", "TensorFlow checkpoint"."""
    sha256: str
    tensors: tuple[StoredTensor, ...]
    named: bool = True
    """False: the file tells kinds and order of layers only, not their names."""
    classes: tuple[str, ...] | None = None
    """Class names of the head, in the order of its outputs, where the file knows them."""
    notes: tuple[str, ...] = ()
    """What a person should know about it, e.g. code in the file that was not run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedWeights:
    """Weights that fit the network, with an account of every tensor of their source."""

    arrays: Arrays
    """float32, keyed as the network asked: every trunk variable, and the head's if they fit."""
    used: Mapping[str, str]
    """Key of the network -> name in the source."""
    left_out: Mapping[str, str]
    """Name in the source -> why it was not used."""
    not_filled: tuple[str, ...]
    """Variables of the head that the source has nothing for; they keep their first values."""
    description: str
    sha256: str
    classes: tuple[str, ...] | None = None
    """Class names of the source's head; None where the source does not tell."""
    notes: tuple[str, ...] = field(default=())

    def lineage(self) -> dict[str, Any]:
        """Where the weights came from and what became of them, as plain JSON for a run's record."""
        return {
            "source": self.description,
            "sha256": self.sha256,
            "num_used": len(self.used),
            "left_out": dict(Counter(self.left_out.values())),
            "not_filled": list(self.not_filled),
            "notes": list(self.notes),
        }
