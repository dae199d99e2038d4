"""The exported function as a Keras model of Keras' own layers, so that it opens without us."""

import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.augment.config import IDENTITY
from trainer.exporting.contract import (
    CLASS_ACTIVATION,
    INPUT,
    PROBABILITIES,
    Contract,
    add_contract,
)
from trainer.exporting.plain_network import PIXELS, Operation, PlainNetwork
from trainer.inference_settings import LEAST_PROBABILITY, InferenceSettings
from trainer.metrics.ensemble import Space

if TYPE_CHECKING:
    import keras


def keras_model(
    network: PlainNetwork, settings: InferenceSettings, with_activation: bool = True
) -> "keras.Model":
    """Maps uint8 [B, S, S, 3] to a dictionary of the outputs of the contract.

    What Keras' own layers cannot do is up to `check_expressible`.
    """
    import keras

    px = network.image_px
    image = keras.Input((px, px, 3), dtype="uint8", name=INPUT)
    pixels = keras.ops.cast(image, "float32")
    trunk = _trunk(network)
    classify = keras.layers.Dense(network.num_classes, name="logits")
    mean = keras.layers.GlobalAveragePooling2D(name="pool")
    features = [
        trunk(keras.ops.flip(pixels, axis=2) if view.mirror else pixels) for view in settings.views
    ]
    logits = [classify(mean(feature)) for feature in features]
    classify.set_weights([network.head_kernel, network.head_bias])
    outputs = {PROBABILITIES: _average(logits, settings)}
    if with_activation:
        evidence = keras.layers.Conv2D(network.num_classes, 1, name=CLASS_ACTIVATION)
        outputs[CLASS_ACTIVATION] = evidence(features[settings.views.index(IDENTITY)])
        evidence.set_weights([network.head_kernel[np.newaxis, np.newaxis], network.head_bias])
    return keras.Model(image, outputs, name="classifier")


def write_keras(model: "keras.Model", contract: Contract, path: Path) -> None:
    """Writes the file, with the contract as further members of its zip archive."""
    with warnings.catch_warnings():
        # Keras 3.15 converts its variables in a way that numpy 2 calls outdated.
        warnings.simplefilter("ignore", DeprecationWarning)
        model.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        add_contract(archive, contract)


def _trunk(network: PlainNetwork) -> "keras.Model":
    import keras

    pixels = keras.Input((network.image_px, network.image_px, 3), name=PIXELS)
    tensors: dict[str, Any] = {PIXELS: pixels}
    for operation in network.operations:
        layer = _layer(operation)
        inputs = [tensors[name] for name in operation.inputs]
        tensors[operation.name] = layer(inputs if len(inputs) > 1 else inputs[0])
        if operation.kernel is not None and operation.kind != "scale":
            layer.set_weights([operation.kernel, operation.bias])
    return keras.Model(pixels, tensors[network.operations[-1].name], name="trunk")


def _layer(operation: Operation) -> Any:
    from keras import layers

    name = operation.name
    if operation.kind in ("conv", "depthwise"):
        assert operation.kernel is not None, "a convolution has a kernel"
        size = operation.kernel.shape[:2]
        arguments: dict[str, Any] = {
            "strides": operation.strides,
            "padding": operation.padding.lower(),
            "name": name,
        }
        if operation.kind == "conv":
            return layers.Conv2D(operation.kernel.shape[3], size, **arguments)
        return layers.DepthwiseConv2D(size, **arguments)
    match operation.kind:
        case "scale":
            assert operation.kernel is not None, "a scale has a factor"
            assert operation.bias is not None, "a scale has an offset"
            return layers.Rescaling(operation.kernel.tolist(), operation.bias.tolist(), name=name)
        case "pad":
            return layers.ZeroPadding2D(operation.pads, name=name)
        case "silu" | "sigmoid":
            return layers.Activation(operation.kind, name=name)
        case "mean":
            return layers.GlobalAveragePooling2D(keepdims=True, name=name)
        case "add":
            return layers.Add(name=name)
        case "multiply":
            return layers.Multiply(name=name)
    raise AssertionError(f"no such operation: {operation.kind}")


def _average(logits: list[Any], settings: InferenceSettings) -> Any:
    """As `InferenceSettings.predict` does it."""
    from keras import ops

    temperature = settings.temperature
    if len(logits) == 1:
        return ops.softmax(logits[0] / temperature)
    total = sum(settings.average.weights)
    in_logits = settings.average.space is Space.LOGITS
    mixed: Any = 0.0
    for member, weight in zip(logits, settings.average.weights, strict=True):
        values = ops.softmax(member)
        if in_logits:
            values = ops.log(ops.maximum(values, LEAST_PROBABILITY))
        mixed = mixed + values * (weight / total)
    if not in_logits:
        mixed = ops.log(ops.maximum(mixed, LEAST_PROBABILITY))
    return ops.softmax(mixed / temperature)
