"""Memory of batches: used again, and never while somebody still looks at it."""

import numpy as np
import tensorflow as tf

from trainer.input.row_buffers import RowBuffers


def test_memory_is_used_again_once_it_is_free() -> None:
    buffers = RowBuffers((4, 4, 3))
    first = buffers.take(2)
    place = first.ctypes.data
    assert first.shape == (2, 4, 4, 3)
    assert place % 64 == 0
    del first
    assert buffers.take(2).ctypes.data == place


def test_memory_in_use_is_not_given_out() -> None:
    buffers = RowBuffers((4,))
    rows = buffers.take(8)
    rows[:] = 7
    part = rows[3:5].reshape(-1)
    del rows
    others = [buffers.take(8) for _ in range(3)]
    for other in others:
        other[:] = 0
    assert (part == 7).all()


def test_a_tensor_keeps_its_memory() -> None:
    buffers = RowBuffers((64,))

    def load() -> np.ndarray:
        rows = buffers.take(4)
        rows[:] = 9
        return rows

    tensor = tf.numpy_function(load, [], tf.uint8)
    shown = tensor.numpy()
    for _ in range(3):
        buffers.take(4)[:] = 0
    assert (tensor.numpy() == 9).all()
    del tensor
    buffers.take(4)[:] = 0
    assert (shown == 9).all()


def test_sizes_do_not_mix() -> None:
    buffers = RowBuffers((8,))
    del_me = buffers.take(2)
    del del_me
    assert buffers.take(3).shape == (3, 8)
    buffers.clear()
    assert buffers.take(2).shape == (2, 8)
