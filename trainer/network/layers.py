"""Keras layers with two changes: dropout drawn per example, and frozen BatchNorm folded away."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from trainer.augment.draws import threefry_2x32

_DROPOUT_STREAMS = 1000
"""Keeps the streams of the dropout layers clear of those of the augmentations."""

_current = threading.local()


@contextmanager
def dropout_seeds(seeds: tf.Tensor) -> Iterator[None]:
    """Seeds every `SeededDropout` called inside: int32 [B, 2], one per example of the batch.

    Thread-local, because a mirrored strategy traces each replica in a thread of its own.
    """
    _current.seeds, outer = seeds, getattr(_current, "seeds", None)
    try:
        yield
    finally:
        _current.seeds = outer


@contextmanager
def counted_rows(rows: tf.Tensor | None) -> Iterator[None]:
    """Keeps rows from the statistics of every BatchNorm that trains inside.

    Args:
        rows: float32 [B], 0 for rows that only fill a replica's share; None where none do.
    """
    _current.rows, outer = rows, getattr(_current, "rows", None)
    try:
        yield
    finally:
        _current.rows = outer


@keras.saving.register_keras_serializable("trainer")
class SeededDropout(keras.layers.Layer):
    """Dropout whose mask is a pure function of each example's seed and this layer's number.

    So an example drops the same units on any number of replicas and after any resume; Keras' own
    layer draws from a generator whose state is neither per example nor in its checkpoints.

    Args:
        rate: share that is dropped, in [0, 1).
        number: tells the masks of the network's dropout layers apart.
        whole_example: drop the whole example (stochastic depth) instead of single units.
    """

    def __init__(self, rate: float, number: int, whole_example: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = rate
        self.number = number
        self.whole_example = whole_example

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self.rate == 0:
            return inputs
        seeds = getattr(_current, "seeds", None)
        if seeds is None:
            raise RuntimeError(
                "SeededDropout in training needs `with dropout_seeds(seeds):` around the call"
            )
        shape = inputs.shape
        num_draws = 1 if self.whole_example else shape[1:].num_elements()
        keep = _uniform(seeds, _DROPOUT_STREAMS + self.number, num_draws) >= self.rate
        mask_shape = [-1] + [1] * (len(shape) - 1) if self.whole_example else [-1, *shape[1:]]
        mask = tf.reshape(tf.cast(keep, inputs.dtype), mask_shape)
        return inputs * mask * tf.cast(1 / (1 - self.rate), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rate": self.rate,
            "number": self.number,
            "whole_example": self.whole_example,
        }


def _uniform(seeds: tf.Tensor, stream: int, num_draws: int) -> tf.Tensor:
    """Uniform numbers in [0, 1), float32 [B, num_draws], each row a function of its seed alone."""
    key = tf.bitcast(seeds, tf.uint32)
    counter = tf.range(num_draws, dtype=tf.int32)[tf.newaxis, :]
    words, _ = threefry_2x32(
        (key[:, 0:1], key[:, 1:2]), (tf.constant(stream, tf.uint32), tf.bitcast(counter, tf.uint32))
    )
    return tf.cast(tf.bitwise.right_shift(words, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24


@keras.saving.register_keras_serializable("trainer")
class FoldingBatchNormalization(keras.layers.BatchNormalization):
    """BatchNormalization that hands its work to the convolution in front when it is frozen.

    While it trains, its moments are those of the `counted_rows` of all replicas: the rows that fill
    up the last replica's share would else make them depend on the number of replicas.
    """

    folded = False

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        return inputs if self.folded else super().call(inputs, training=training, mask=mask)

    def _moments(self, inputs: tf.Tensor, mask: Any) -> tuple[tf.Tensor, tf.Tensor]:
        rows = getattr(_current, "rows", None)
        context = tf.distribute.get_replica_context()
        shared = self.synchronized and context is not None and context.num_replicas_in_sync > 1
        if rows is None and not shared:
            moments: tuple[tf.Tensor, tf.Tensor] = super()._moments(inputs, mask)
            return moments
        if rows is None:
            rows = tf.ones(tf.shape(inputs)[:1])
        weights = tf.reshape(rows, [-1] + [1] * (len(inputs.shape) - 1))
        axes = list(range(len(inputs.shape) - 1))
        count = tf.reduce_sum(rows) * float(inputs.shape[1:-1].num_elements())
        sums = tf.stack(
            [
                tf.reduce_sum(weights * inputs, axes),
                tf.reduce_sum(weights * tf.square(inputs), axes),
                tf.fill([inputs.shape[-1]], count),
            ]
        )
        if shared:
            # Keras asks three times, and again for the gradients: latency, between machines.
            sums = context.all_reduce(tf.distribute.ReduceOp.SUM, sums)
        total, squares, count = tf.unstack(sums)
        mean = tf.math.divide_no_nan(total, count)
        variance = tf.maximum(tf.math.divide_no_nan(squares, count) - tf.square(mean), 0.0)
        # A micro-batch may hold no such row on any replica: the moving statistics stay.
        return (
            tf.where(count > 0, mean, self.moving_mean),
            tf.where(count > 0, variance, self.moving_variance),
        )

    def scale_and_shift(self) -> tuple[tf.Tensor, tf.Tensor] | None:
        """The normalisation as y = x * scale + shift, float32 [C] each; None unless folded."""
        if not self.folded:
            return None
        scale = tf.math.rsqrt(tf.convert_to_tensor(self.moving_variance) + self.epsilon)
        if self.scale:
            scale *= tf.convert_to_tensor(self.gamma)
        shift = -tf.convert_to_tensor(self.moving_mean) * scale
        if self.center:
            shift += tf.convert_to_tensor(self.beta)
        return scale, shift


class _Folded:
    """A convolution that multiplies a frozen normalisation behind it into its own kernel.

    conv(x, W) * scale + shift = conv(x, W * scale) + shift: one small product with the kernel
    replaces two passes over the feature map, forward and backward, for the same gradient of W.
    """

    # A bound method, not the layer: Keras would take a layer for a part of this one.
    scale_and_shift: Callable[[], tuple[tf.Tensor, tf.Tensor] | None] | None = None

    def fold(self, kernel: tf.Tensor, depthwise: bool) -> tuple[tf.Tensor, tf.Tensor | None]:
        normalization = self.scale_and_shift() if self.scale_and_shift is not None else None
        if normalization is None:
            return kernel, None
        scale, shift = normalization
        if depthwise:
            scale = scale[:, None]
        folded = tf.cast(kernel, tf.float32) * scale
        return tf.cast(folded, kernel.dtype), tf.cast(shift, kernel.dtype)


@keras.saving.register_keras_serializable("trainer")
class FoldedConv2D(_Folded, keras.layers.Conv2D):
    """Conv2D without bias or activation in front of a BatchNormalization."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel, shift = self.fold(tf.convert_to_tensor(self.kernel), depthwise=False)
        outputs = keras.ops.conv(inputs, kernel, strides=list(self.strides), padding=self.padding)
        return outputs if shift is None else tf.nn.bias_add(outputs, shift)


@keras.saving.register_keras_serializable("trainer")
class FoldedDepthwiseConv2D(_Folded, keras.layers.DepthwiseConv2D):
    """DepthwiseConv2D without bias or activation in front of a BatchNormalization."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel, shift = self.fold(tf.convert_to_tensor(self.kernel), depthwise=True)
        outputs = keras.ops.depthwise_conv(
            inputs, kernel, strides=self.strides, padding=self.padding
        )
        return outputs if shift is None else tf.nn.bias_add(outputs, shift)
