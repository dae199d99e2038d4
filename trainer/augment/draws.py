"""Random numbers that belong to an example, not to its place in a batch.

Every number is Threefry-2x32 of (the example's seed, the operation, the draw): nothing depends on
the batch, the replica or the device kind. `tf.random.stateless_*` takes one seed for a whole
tensor and picks its algorithm by device, so it can promise neither.

Shape suffixes: B batch, O operations, D draws.
"""

import enum
from collections.abc import Sequence

import tensorflow as tf

DRAWS_PER_OPERATION = 32


class Operation(enum.IntEnum):
    """The stream of draws of each operation. Append only: renumbering changes every result."""

    CROP = 1
    MIRROR = 2
    ROTATION = 3
    SHIFT = 4
    ZOOM = 5
    BRIGHTNESS = 6
    CONTRAST = 7
    SATURATION = 8
    HUE = 9
    CLAHE = 10
    ADAPTIVE_GAMMA = 11
    ERASING = 12
    MIX_CHOICE = 13
    MIXUP = 14
    CUTMIX = 15
    CUTMIX_BOX = 16


class Draws:
    """Uniform numbers in [0, 1) for the named operations of a batch."""

    def __init__(self, seeds_b2: tf.Tensor, operations: Sequence[Operation]):
        """Draws for all operations at once, because one wide Threefry is one small graph.

        Args:
          seeds_b2: int32 [B, 2], a pure function of (run seed, epoch, record index).
          operations: the streams that will be asked for.
        """
        self._row = {operation: row for row, operation in enumerate(operations)}
        if not operations:
            return
        num_blocks = DRAWS_PER_OPERATION // 2
        key = tf.bitcast(seeds_b2, tf.uint32)[:, :, tf.newaxis, tf.newaxis]
        streams = [int(operation) for operation in operations]
        counter_high = tf.constant(streams, tf.uint32)[:, tf.newaxis]
        counter_low = tf.constant(list(range(num_blocks)), tf.uint32)[tf.newaxis, :]
        words = threefry_2x32((key[:, 0], key[:, 1]), (counter_high, counter_low))
        bits = tf.bitwise.right_shift(tf.stack(words, axis=-1), tf.constant(8, tf.uint32))
        shape = [-1, len(operations), DRAWS_PER_OPERATION]
        # 24 bits are what a float32 below 1 can hold without rounding up to 1.
        self._uniform_bod = tf.reshape(tf.cast(bits, tf.float32) * 2.0**-24, shape)

    def uniform(self, operation: Operation, num: int) -> tf.Tensor:
        """The first `num` numbers of one stream, float32 [B, num] in [0, 1)."""
        if num > DRAWS_PER_OPERATION:
            raise ValueError(
                f"{num} draws for {operation.name}; a stream holds {DRAWS_PER_OPERATION}. "
                "Raise DRAWS_PER_OPERATION or use a second stream."
            )
        return self._uniform_bod[:, self._row[operation], :num]

    def chance(self, operation: Operation, probability: float) -> tf.Tensor:
        """Whether each example takes part, bool [B], from the stream's last number."""
        last = self._uniform_bod[:, self._row[operation], DRAWS_PER_OPERATION - 1]
        return last < probability


def threefry_2x32(
    key: tuple[tf.Tensor, tf.Tensor], counter: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Threefry-2x32 with 20 rounds; uint32 tensors that broadcast against each other.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    parity = tf.constant(0x1BD11BDA, tf.uint32)
    schedule = (key[0], key[1], tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(*key), parity))
    x0 = counter[0] + schedule[0]
    x1 = counter[1] + schedule[1]
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    for group in range(5):
        for rotation in rotations[group % 2]:
            x0 = x0 + x1
            x1 = tf.bitwise.bitwise_xor(_rotate_left(x1, rotation), x0)
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + tf.constant(group + 1, tf.uint32)
    return x0, x1


def _rotate_left(x: tf.Tensor, num_bits: int) -> tf.Tensor:
    high = tf.bitwise.left_shift(x, tf.constant(num_bits, tf.uint32))
    low = tf.bitwise.right_shift(x, tf.constant(32 - num_bits, tf.uint32))
    return tf.bitwise.bitwise_or(high, low)
