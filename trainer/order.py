"""The order in which examples are seen: computed from (seed, epoch), never stored.

The examples of a stage form one endless stream: the permutation of epoch 0, then that of epoch 1,
and so on. Step `s` takes the positions [s B, (s + 1) B) of it, so batches run across the borders of
epochs and every one of them is full. Nothing depends on replicas, workers or restarts.

Small data sets are permuted whole. Of large ones the shards are permuted, and then the records
inside of each window of some neighbouring shards, so that only two windows need to be at hand.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfrecords_builder.manifest import Split
from trainer.errors import RecipeError

WHOLE_ORDER_BYTES = 8 * 2**30
"""Larger data sets are permuted in windows. A constant, not what this machine can hold: the order
must be the same on all machines that a run goes through."""
WINDOW_BYTES = 2 * 2**30
"""Records of the shards in one window; a larger shard is a window of its own."""


@functools.lru_cache(maxsize=8)
def epoch_order(seed: int, epoch: int, num_examples: int, window: int = 0) -> np.ndarray:
    """The permutation of one epoch, or of a window of it, read-only int64 [num_examples]; pure.

    Philox is counter based, so neighbouring (seed, epoch) keys and (window) counters give
    independent streams (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3).
    """
    key = np.array([seed & (2**64 - 1), epoch], dtype=np.uint64)
    # The counter's last word is far from where drawing moves it.
    counter = np.array([0, 0, 0, window], dtype=np.uint64)
    order = np.random.Generator(np.random.Philox(counter=counter, key=key)).permutation(
        num_examples
    )
    order.flags.writeable = False
    return order


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """How a large data set is cut for its order: shards, and how many make a window."""

    shard_examples: tuple[int, ...]
    """Examples of each shard, in the manifest's order."""
    shards_per_window: int

    def __post_init__(self) -> None:
        if self.shards_per_window < 1 or min(self.shard_examples, default=0) < 0:
            raise ValueError(f"{self} is no way to cut a data set; need 1 or more shards a window")

    @property
    def num_examples(self) -> int:
        """Of all shards."""
        return sum(self.shard_examples)


def plan_windows(
    shard_examples: Sequence[int],
    shard_bytes: Sequence[int],
    whole_bytes: int = WHOLE_ORDER_BYTES,
    window_bytes: int = WINDOW_BYTES,
) -> Windows | None:
    """Windows for data of more than `whole_bytes`, None where all is permuted at once; pure.

    A window takes as many of the largest shards as fit into `window_bytes`, at least one, whatever
    the order of the shards will be.
    """
    if sum(shard_bytes) <= whole_bytes:
        return None
    return Windows(
        shard_examples=tuple(shard_examples),
        shards_per_window=max(1, window_bytes // max(shard_bytes)),
    )


def windows_of(split: Split) -> Windows | None:
    """`plan_windows` of a split's shards."""
    return plan_windows(
        [shard.num_examples for shard in split.shards], [shard.num_bytes for shard in split.shards]
    )


@dataclass(frozen=True, slots=True)
class BatchRows:
    """The examples of one global batch, each array of length [global_batch]."""

    indices: np.ndarray
    """int64: record index in the split."""
    epochs: np.ndarray
    """int64: the epoch each example belongs to; with the index it seeds what is random about it."""
    weights: np.ndarray
    """float32: 1, or 0 for the padding behind the end of the stage."""


class Order:
    """The stream of examples of one stage.

    Args:
        seed: of the run.
        num_examples: of the training split.
        batch_size: global batch.
        num_epochs: length of the stream; what lies behind it is padding of weight 0.
        first_epoch: epochs that earlier stages have seen, so that no two stages share an order.
        windows: of a large data set, see `plan_windows`.
    """

    def __init__(
        self,
        *,
        seed: int,
        num_examples: int,
        batch_size: int,
        num_epochs: int,
        first_epoch: int = 0,
        windows: Windows | None = None,
    ):
        if num_examples < 1:
            raise RecipeError(
                "the training split is empty; need at least one photo; build the records again"
            )
        if windows is not None and windows.num_examples != num_examples:
            raise ValueError(f"windows of {windows.num_examples} examples, not {num_examples}")
        self._seed = seed
        self._num_examples = num_examples
        self._batch_size = batch_size
        self._end = num_epochs * num_examples
        self._first_epoch = first_epoch
        self._windows = windows

    def batch(self, step: int) -> BatchRows:
        """The rows of optimizer step `step`, counted from 0 in the stage."""
        positions = np.arange(
            step * self._batch_size, (step + 1) * self._batch_size, dtype=np.int64
        )
        real = positions < self._end
        # Padding has no weight in the loss, but a BatchNorm that trains sees it: so it is the rows
        # of the batch before, other photos each, which are still at hand.
        earlier = positions - self._batch_size if step else positions % self._end
        positions = np.where(real, positions, np.minimum(earlier, self._end - 1))
        epochs, offsets = np.divmod(positions, self._num_examples)
        epochs += self._first_epoch
        indices = np.empty_like(positions)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            indices[chosen] = self._indices(int(epoch), offsets[chosen])
        return BatchRows(indices=indices, epochs=epochs, weights=real.astype(np.float32))

    def shards_near(self, first_step: int, last_step: int) -> tuple[int, ...] | None:
        """Shards of the windows that these steps read and of the next window; None for all."""
        if self._windows is None:
            return None
        position = min(first_step * self._batch_size, self._end - 1)
        last = min((last_step + 1) * self._batch_size, self._end) - 1
        near: dict[int, None] = {}
        while True:
            epoch, offset = divmod(position, self._num_examples)
            cut = _cut(self._seed, epoch + self._first_epoch, self._windows)
            window = cut.window_of(np.array([offset]))[0]
            near.update(dict.fromkeys(cut.shards[window]))
            if position > last:
                return tuple(near)
            position = epoch * self._num_examples + int(cut.starts[window + 1])
            if position >= self._end:
                return tuple(near)

    def _indices(self, epoch: int, offsets: np.ndarray) -> np.ndarray:
        if self._windows is None:
            return epoch_order(self._seed, epoch, self._num_examples)[offsets]
        cut = _cut(self._seed, epoch, self._windows)
        window_of = cut.window_of(offsets)
        indices = np.empty_like(offsets)
        for window in np.unique(window_of):
            chosen = window_of == window
            size = int(cut.starts[window + 1] - cut.starts[window])
            order = epoch_order(self._seed, epoch, size, int(window) + 1)
            # Places in the window's shards, one after the other, then in the split.
            places = order[offsets[chosen] - cut.starts[window]]
            shard = np.searchsorted(cut.shard_starts[window], places, side="right") - 1
            indices[chosen] = cut.first_index[window][shard] + (
                places - cut.shard_starts[window][shard]
            )
        return indices


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cut:
    """One epoch's shards in their computed order, window by window; W windows."""

    starts: np.ndarray
    """int64 [W + 1], offset in the epoch"""
    shards: tuple[tuple[int, ...], ...]
    shard_starts: tuple[np.ndarray, ...]
    """int64, each shard's first place in its window"""
    first_index: tuple[np.ndarray, ...]
    """int64, each shard's first record index in the split"""

    def window_of(self, offsets: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.starts, offsets, side="right") - 1


@functools.lru_cache(maxsize=4)
def _cut(seed: int, epoch: int, windows: Windows) -> _Cut:
    # Empty shards hold no place.
    filled = np.flatnonzero(windows.shard_examples)
    order = filled[epoch_order(seed, epoch, len(filled))]
    sizes = np.array(windows.shard_examples, np.int64)
    first_index = np.cumsum(sizes) - sizes
    groups = [
        order[first : first + windows.shards_per_window]
        for first in range(0, len(order), windows.shards_per_window)
    ]
    return _Cut(
        starts=np.cumsum([0] + [int(sizes[group].sum()) for group in groups]),
        shards=tuple(tuple(group.tolist()) for group in groups),
        shard_starts=tuple(np.cumsum(sizes[group]) - sizes[group] for group in groups),
        first_index=tuple(first_index[group] for group in groups),
    )
