"""The order in which examples are seen: computed from (seed, epoch), never stored.

The examples of a stage form one endless stream: the permutation of epoch 0, then that of epoch 1,
and so on. Step `s` takes the positions [s B, (s + 1) B) of it, so batches run across the borders of
epochs and every one of them is full. Nothing depends on replicas, workers or restarts.
"""

import functools
from dataclasses import dataclass

import numpy as np

from trainer.errors import RecipeError


@functools.lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """The permutation of one epoch, read-only int64 [num_examples]; pure.

    Philox is counter based, so neighbouring (seed, epoch) keys give independent streams
    (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3).
    """
    key = np.array([seed & (2**64 - 1), epoch], dtype=np.uint64)
    order = np.random.Generator(np.random.Philox(key=key)).permutation(num_examples)
    order.flags.writeable = False
    return order


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
    """

    def __init__(
        self,
        *,
        seed: int,
        num_examples: int,
        batch_size: int,
        num_epochs: int,
        first_epoch: int = 0,
    ):
        if num_examples < 1:
            raise RecipeError(
                "the training split is empty; need at least one photo; build the records again"
            )
        self._seed = seed
        self._num_examples = num_examples
        self._batch_size = batch_size
        self._end = num_epochs * num_examples
        self._first_epoch = first_epoch

    def batch(self, step: int) -> BatchRows:
        """The rows of optimizer step `step`, counted from 0 in the stage."""
        positions = np.arange(
            step * self._batch_size, (step + 1) * self._batch_size, dtype=np.int64
        )
        real = positions < self._end
        positions = np.where(real, positions, 0)
        epochs, offsets = np.divmod(positions, self._num_examples)
        indices = np.empty_like(positions)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            order = epoch_order(self._seed, int(epoch) + self._first_epoch, self._num_examples)
            indices[chosen] = order[offsets[chosen]]
        return BatchRows(
            indices=indices, epochs=epochs + self._first_epoch, weights=real.astype(np.float32)
        )
