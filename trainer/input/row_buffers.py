"""Memory for batches that is used again: fresh pages cost more than the copy into them."""

import ctypes
import weakref
from collections import deque

import numpy as np

_ALIGNMENT = 64
_MAX_KEPT = 16


class RowBuffers:
    """Gives out uint8 arrays [B, *row_shape] and takes their memory back when they are gone.

    The memory of an array is given out again once the array and everything that was cut from it
    are garbage. It starts at a multiple of 64 bytes, so that TensorFlow takes it over without a
    copy. Safe from several threads.
    """

    def __init__(self, row_shape: tuple[int, ...]):
        self._row_shape = row_shape
        # A deque and no lock: memory comes back in the middle of anything, also of `take`.
        self._kept: dict[int, deque[np.ndarray]] = {}

    def take(self, num_rows: int) -> np.ndarray:
        """An array of `num_rows` rows with anything in it."""
        num_bytes = num_rows * int(np.prod(self._row_shape))
        kept = self._kept.setdefault(num_bytes, deque(maxlen=_MAX_KEPT))
        try:
            memory = kept.pop()
        except IndexError:
            memory = _aligned(num_bytes)
        # Every view of the array leads to this object, which therefore dies with the last of them.
        owner = (ctypes.c_uint8 * num_bytes).from_buffer(memory.data)
        weakref.finalize(owner, kept.append, memory).atexit = False
        return np.frombuffer(memoryview(owner), np.uint8).reshape(num_rows, *self._row_shape)

    def clear(self) -> None:
        """Lets go of what is not in use."""
        self._kept = {}


def _aligned(num_bytes: int) -> np.ndarray:
    memory = np.empty(num_bytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + num_bytes]
