"""A network as a plain list of operations, for writers of files that know no Keras.

Every BatchNorm is multiplied into the convolution in front of it, and the head's into the logits;
dropout is gone. What is left are nine kinds of operations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import keras

Kind = Literal["scale", "pad", "conv", "depthwise", "silu", "sigmoid", "mean", "add", "multiply"]
PIXELS = "pixels"


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One operation; its result bears its name. Feature maps are [B, h, w, C]."""

    kind: Kind
    """`scale`: x * kernel + bias per channel; `pad`: zeros; `mean`: over h and w, which stay as
    1; `add` and `multiply`: of two, with broadcasting; the rest as named."""
    name: str
    inputs: tuple[str, ...]
    kernel: np.ndarray | None = None
    """float32: conv [h, w, in, out]; depthwise [h, w, in, 1]; scale [C]."""
    bias: np.ndarray | None = None
    """float32 [out]."""
    strides: tuple[int, int] = (1, 1)
    padding: str = "SAME"
    """SAME (TensorFlow's: one more behind than before where it does not divide) or VALID."""
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    """Of `pad`: rows above and below, columns left and right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainNetwork:
    """From `PIXELS`, float32 [B, S, S, 3] in 0..255, to a feature map and its linear head."""

    operations: tuple[Operation, ...]
    """In an order in which they can be computed; the last one gives the feature map."""
    head_kernel: np.ndarray
    """float32 [C, K]"""
    head_bias: np.ndarray
    """float32 [K]. logits = mean of the feature map @ head_kernel + head_bias."""
    image_px: int

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self.head_kernel.shape[1])


@dataclass(slots=True)
class _Graph:
    operations: list[Operation] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    """Of the operation that gives a Keras tensor, by the tensor's id."""


def flatten(model: "keras.Model") -> PlainNetwork:
    """The network of `trainer.network.build` with its present weights, in inference mode.

    Raises:
        RuntimeError: a layer that this does not know.
    """
    graph = _Graph()
    head: dict[str, Any] = {}
    for layer in model.layers:
        if layer.name.startswith("head_"):
            head[layer.name] = layer
            continue
        _append(graph, layer)
    normalization, logits = head["head_bn"], head["head_logits"]
    scale, shift = _scale_and_shift(normalization)
    kernel = np.asarray(logits.kernel, np.float32)
    return PlainNetwork(
        operations=tuple(graph.operations),
        head_kernel=_float32(scale[:, np.newaxis] * kernel),
        head_bias=_float32(shift @ kernel + np.asarray(logits.bias, np.float32)),
        image_px=int(model.input.shape[1]),
    )


def _append(graph: _Graph, layer: Any) -> None:
    import keras

    if isinstance(layer, keras.layers.InputLayer):
        graph.names[id(layer.output)] = PIXELS
        return
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    inputs = tuple(graph.names[id(tensor)] for tensor in tensors)
    name = layer.name
    if isinstance(layer, keras.layers.BatchNormalization):
        _fold(graph, inputs[0], layer)
        name = inputs[0]
    elif type(layer).__name__ in ("SeededDropout", "Reshape"):
        # The reshape puts back the two sides that Keras' global pooling takes away.
        name = inputs[0]
    else:
        name = _append_operation(graph, layer, inputs)
    graph.names[id(layer.output)] = name


def _append_operation(graph: _Graph, layer: Any, inputs: tuple[str, ...]) -> str:
    import keras

    name, activation = layer.name, getattr(layer, "activation", None)
    fields: dict[str, Any] = {}
    kind: Kind
    if isinstance(layer, keras.layers.Rescaling):
        kind = "scale"
        fields = {"kernel": _float32(layer.scale), "bias": _float32(layer.offset)}
    elif isinstance(layer, keras.layers.ZeroPadding2D):
        kind, fields = "pad", {"pads": layer.padding}
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        kind, fields = "depthwise", _convolution(layer)
    elif isinstance(layer, keras.layers.Conv2D):
        kind, fields = "conv", _convolution(layer)
    elif isinstance(layer, keras.layers.GlobalAveragePooling2D):
        kind = "mean"
    elif isinstance(layer, keras.layers.Add):
        kind = "add"
    elif isinstance(layer, keras.layers.Multiply):
        kind = "multiply"
    elif isinstance(layer, keras.layers.Activation):
        return _append_activation(graph, name, activation, inputs)
    else:
        raise RuntimeError(f"layer {name} is a {type(layer).__name__}, which cannot be exported")
    graph.operations.append(Operation(kind=kind, name=name, inputs=inputs, **fields))
    if activation is None:
        return str(name)
    return _append_activation(graph, f"{name}_activation", activation, (name,))


def _append_activation(graph: _Graph, name: str, activation: Any, inputs: tuple[str, ...]) -> str:
    kinds: dict[str, Kind] = {"silu": "silu", "swish": "silu", "sigmoid": "sigmoid"}
    if activation.__name__ == "linear":
        return inputs[0]
    if activation.__name__ not in kinds:
        raise RuntimeError(f"activation {activation.__name__} of {name} cannot be exported")
    graph.operations.append(Operation(kind=kinds[activation.__name__], name=name, inputs=inputs))
    return name


def _convolution(layer: Any) -> dict[str, Any]:
    if tuple(layer.dilation_rate) != (1, 1) or getattr(layer, "groups", 1) != 1:
        raise RuntimeError(f"{layer.name} has dilation or groups, which cannot be exported")
    kernel = np.asarray(layer.kernel, np.float32)
    num_out = kernel.shape[2] * kernel.shape[3] if _is_depthwise(layer) else kernel.shape[3]
    bias = np.asarray(layer.bias, np.float32) if layer.use_bias else np.zeros(num_out, np.float32)
    return {
        "kernel": kernel,
        "bias": bias,
        "strides": tuple(layer.strides),
        "padding": layer.padding.upper(),
    }


def _is_depthwise(layer: Any) -> bool:
    import keras

    return isinstance(layer, keras.layers.DepthwiseConv2D)


def _fold(graph: _Graph, name: str, normalization: Any) -> None:
    """Multiplies a BatchNorm into the convolution of that name, the last one appended."""
    convolution = graph.operations.pop()
    assert convolution.name == name, f"{normalization.name} does not follow a convolution"
    assert convolution.kernel is not None, f"{name} has no kernel"
    assert convolution.bias is not None, f"{name} has no bias"
    scale, shift = _scale_and_shift(normalization)
    by_channel = scale[:, np.newaxis] if convolution.kind == "depthwise" else scale
    graph.operations.append(
        Operation(
            kind=convolution.kind,
            name=convolution.name,
            inputs=convolution.inputs,
            kernel=_float32(convolution.kernel * by_channel),
            bias=_float32(convolution.bias * scale + shift),
            strides=convolution.strides,
            padding=convolution.padding,
        )
    )


def _scale_and_shift(normalization: Any) -> tuple[np.ndarray, np.ndarray]:
    """The normalisation as y = x * scale + shift, float64 [C] each."""
    mean = np.asarray(normalization.moving_mean, np.float64)
    variance = np.asarray(normalization.moving_variance, np.float64)
    scale = 1 / np.sqrt(variance + normalization.epsilon)
    if normalization.scale:
        scale = scale * np.asarray(normalization.gamma, np.float64)
    shift = -mean * scale
    if normalization.center:
        shift = shift + np.asarray(normalization.beta, np.float64)
    return scale, shift


def _float32(values: np.ndarray | Sequence[float]) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(values, np.float32))
