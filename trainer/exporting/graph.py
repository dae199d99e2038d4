"""The exported function in TensorFlow: pixels of the contract to probabilities.

Shape suffixes: V views, B batch, S pixels of a side, K classes, C channels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.augment.batch import evaluation_batch
from trainer.augment.clahe import clahe
from trainer.augment.config import IDENTITY, Augmentation, View
from trainer.augment.gamma import adaptive_gamma
from trainer.exporting.contract import CLASS_ACTIVATION, INPUT, PROBABILITIES
from trainer.exporting.plain_network import PIXELS, Operation, PlainNetwork
from trainer.exporting.result_names import view_scope
from trainer.inference_settings import LEAST_PROBABILITY, InferenceSettings
from trainer.metrics.ensemble import Space


def on_prepared(augmentation: Augmentation) -> Augmentation:
    """What is left to do to pixels whose geometry is done: only what is always on."""
    return Augmentation(
        clahe=augmentation.clahe if augmentation.clahe == "always" else 0.0,
        clahe_clip_limit=augmentation.clahe_clip_limit,
        clahe_tiles=augmentation.clahe_tiles,
        adaptive_gamma=(
            augmentation.adaptive_gamma if augmentation.adaptive_gamma == "always" else 0.0
        ),
    )


class PixelModel(tf.Module):
    """uint8 [B, S, S, 3] to probabilities and evidence maps, temperature and views inside.

    Args:
        network: what it computes.
        augmentation: of the stage; what is always on is done here.
        settings: views, their average, temperature.
        with_activation: give `class_activation` too, of the view that is the photo as it is.
    """

    def __init__(
        self,
        network: PlainNetwork,
        augmentation: Augmentation,
        settings: InferenceSettings,
        with_activation: bool = True,
    ):
        super().__init__(name="pixel_model")
        self.network = network
        self._augmentation = on_prepared(augmentation)
        self._settings = settings
        self._with_activation = with_activation
        self._parameters = {
            f"{operation.name}/{part}": tf.Variable(array, trainable=False, name=operation.name)
            for operation in network.operations
            for part, array in (("kernel", operation.kernel), ("bias", operation.bias))
            if array is not None
        }
        self._head_kernel = tf.Variable(network.head_kernel, trainable=False, name="head_kernel")
        self._head_bias = tf.Variable(network.head_bias, trainable=False, name="head_bias")

    def function(self, batch: int | None = None) -> Any:
        """The `tf.function` of [batch, S, S, 3]; any batch with None."""
        px = self.network.image_px
        spec = tf.TensorSpec([batch, px, px, 3], tf.uint8, name=INPUT)
        return tf.function(self.__call__, input_signature=[spec], autograph=False)

    def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        results = []
        for index, view in enumerate(self._settings.views):
            # Else TensorFlow numbers the names of what is computed again.
            with tf.name_scope(view_scope(index)):
                results.append(self._look(image, view))
        outputs = {PROBABILITIES: self._average([logits for logits, _ in results])}
        if self._with_activation:
            outputs[CLASS_ACTIVATION] = results[self._settings.views.index(IDENTITY)][1]
        return outputs

    def _pixels(self, image: tf.Tensor, view: View) -> tf.Tensor:
        if view.scale == 1:
            pixels = tf.cast(image, tf.float32)
            pixels = tf.reverse(pixels, [2]) if view.mirror else pixels
        else:
            # Of pixels that were made for the photo as it is: a little less sharp than from a
            # larger canvas.
            aspect = tf.ones(tf.shape(image)[:1])
            px = self.network.image_px
            pixels = evaluation_batch(image, aspect, Augmentation(), px, view, "matrix")
        config = self._augmentation
        if config.adaptive_gamma == "always":
            pixels = adaptive_gamma(pixels)
        if config.clahe == "always":
            pixels = clahe(
                pixels, config.clahe_clip_limit, config.clahe_tiles, "matrix", in_loop=False
            )
        return pixels

    def _look(self, image: tf.Tensor, view: View) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = self._pixels(image, view)
        features = self._tensors(pixels)[self.network.operations[-1].name]
        pooled = tf.reduce_mean(features, axis=[1, 2])
        logits = tf.matmul(pooled, self._head_kernel) + self._head_bias
        kernel = tf.reshape(self._head_kernel, [1, 1, *self._head_kernel.shape])
        activation = tf.nn.conv2d(features, kernel, 1, "VALID") + self._head_bias
        return logits, activation

    def features(self, image: tf.Tensor, view: View) -> dict[str, tf.Tensor]:
        """Results of all operations by name, in their order, on the photo as a view shows it."""
        tensors = self._tensors(self._pixels(image, view))
        return {name: tensors[name] for name in tensors if name != PIXELS}

    def _tensors(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        tensors = {PIXELS: pixels}
        for operation in self.network.operations:
            inputs = [tensors[name] for name in operation.inputs]
            tensors[operation.name] = self._compute(operation, inputs)
        return tensors

    def _compute(self, operation: Operation, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        x = inputs[0]
        kernel = self._parameters.get(f"{operation.name}/kernel")
        bias = self._parameters.get(f"{operation.name}/bias")
        name = operation.name
        match operation.kind:
            case "scale":
                return tf.add(x * kernel, bias, name=name)
            case "pad":
                return tf.pad(x, [[0, 0], *operation.pads, [0, 0]], name=name)
            case "conv":
                y = tf.nn.conv2d(x, kernel, operation.strides, operation.padding, name=name)
                return tf.nn.bias_add(y, bias)
            case "depthwise":
                strides = [1, *operation.strides, 1]
                y = tf.nn.depthwise_conv2d(x, kernel, strides, operation.padding, name=name)
                return tf.nn.bias_add(y, bias)
            case "silu":
                return tf.multiply(x, tf.sigmoid(x), name=name)
            case "sigmoid":
                return tf.sigmoid(x, name=name)
            case "mean":
                return tf.reduce_mean(x, axis=[1, 2], keepdims=True, name=name)
            case "add":
                return tf.add(*inputs, name=name)
            case "multiply":
                return tf.multiply(*inputs, name=name)
        raise AssertionError(f"no such operation: {operation.kind}")

    def _average(self, logits_vbk: Sequence[tf.Tensor]) -> tf.Tensor:
        """As `InferenceSettings.predict` does it."""
        settings = self._settings
        temperature = settings.temperature
        if len(logits_vbk) == 1:
            return tf.nn.softmax(logits_vbk[0] / temperature)
        shares = np.asarray(settings.average.weights, np.float64)
        shares = shares / shares.sum()
        members = [tf.nn.softmax(logits) for logits in logits_vbk]
        if settings.average.space is Space.LOGITS:
            logarithms = [tf.math.log(tf.maximum(member, LEAST_PROBABILITY)) for member in members]
            mixed = tf.add_n([float(s) * one for s, one in zip(shares, logarithms, strict=True)])
            return tf.nn.softmax(mixed / temperature)
        mixed = tf.add_n([float(s) * one for s, one in zip(shares, members, strict=True)])
        if temperature == 1:
            return mixed
        return tf.nn.softmax(tf.math.log(tf.maximum(mixed, LEAST_PROBABILITY)) / temperature)
