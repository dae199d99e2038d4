"""Shear: every column (or row) of a picture slides along itself by its own distance."""

import tensorflow as tf

from trainer.augment.kernels import Kernels, fuse


def shear(
    pixels: tf.Tensor, shift: tf.Tensor, axis: int, max_shift: int, kernels: Kernels = "matrix"
) -> tf.Tensor:
    """Reads each line `shift` pixels further along, between pixels by linear interpolation.

    Args:
      pixels: [B, H, W, C], any number type.
      shift: pixels, float32 [B, W] for axis 1 (columns slide up and down), [B, H] for axis 2.
        Distances past `max_shift` are cut to it.
      axis: 1 or 2, the axis to slide along.
      max_shift: bound on the distance either way, static.
      kernels: which way to compute.

    Returns:
      float32, shape of `pixels`. What comes in at the ends repeats the edge.
    """
    by = _slide_by_gathering if kernels == "gather" else _slide_by_powers_of_two
    return fuse(kernels, by, pixels, shift, axis, max_shift)


def _slide_by_powers_of_two(
    pixels: tf.Tensor, shift: tf.Tensor, axis: int, max_shift: int
) -> tf.Tensor:
    """The whole part of the distance is a sum of powers of two: one choice between a picture and
    its slid copy for each power, without a gather."""
    whole, fraction = _parts(shift, max_shift)
    steps = whole + max_shift
    num_bits = (2 * max_shift).bit_length()
    length = pixels.shape[axis]
    index = tf.range(-max_shift, length + 2**num_bits - max_shift)
    pixels = tf.gather(pixels, tf.clip_by_value(index, 0, length - 1), axis=axis)
    for bit in reversed(range(num_bits)):
        slides = tf.equal(tf.bitwise.bitwise_and(tf.bitwise.right_shift(steps, bit), 1), 1)
        size = pixels.shape[axis]
        near = _cut(pixels, axis, 0, size - 2**bit)
        far = _cut(pixels, axis, 2**bit, size)
        pixels = tf.where(_across(slides, axis), far, near)
    near = tf.cast(_cut(pixels, axis, 0, length), tf.float32)
    far = tf.cast(_cut(pixels, axis, 1, length + 1), tf.float32)
    return near + (far - near) * _across(fraction, axis)


def _slide_by_gathering(
    pixels: tf.Tensor, shift: tf.Tensor, axis: int, max_shift: int
) -> tf.Tensor:
    """The same, reading each pixel where it is."""
    _, height, width, channels = pixels.shape
    whole, fraction = _parts(shift, max_shift)
    along = tf.range(pixels.shape[axis])
    flat = tf.reshape(pixels, [-1, height * width, channels])

    def read(extra: int) -> tf.Tensor:
        if axis == 1:
            row = tf.clip_by_value(
                along[:, tf.newaxis] + whole[:, tf.newaxis] + extra, 0, height - 1
            )
            column = tf.range(width)
        else:
            row = tf.range(height)[:, tf.newaxis]
            column = tf.clip_by_value(along + whole[:, :, tf.newaxis] + extra, 0, width - 1)
        index = tf.reshape(row * width + column, [-1, height * width])
        taken = tf.cast(tf.gather(flat, index, batch_dims=1), tf.float32)
        return tf.reshape(taken, [-1, height, width, channels])

    near = read(0)
    return near + (read(1) - near) * _across(fraction, axis)


def _parts(shift: tf.Tensor, max_shift: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Whole part, int32, and fraction of the distances within the bound."""
    shift = tf.clip_by_value(shift, -float(max_shift), float(max_shift))
    whole = tf.floor(shift)
    return tf.cast(whole, tf.int32), shift - whole


def _across(values: tf.Tensor, axis: int) -> tf.Tensor:
    """[B, lines] so that it broadcasts over [B, H, W, C] along `axis` and the channels."""
    return (
        values[:, tf.newaxis, :, tf.newaxis] if axis == 1 else values[:, :, tf.newaxis, tf.newaxis]
    )


def _cut(pixels: tf.Tensor, axis: int, start: int, stop: int) -> tf.Tensor:
    return pixels[:, start:stop] if axis == 1 else pixels[:, :, start:stop]
