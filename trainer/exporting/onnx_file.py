"""Writes the exported function as an ONNX file, operation by operation.

ONNX computes in NCHW; pixels come in as [B, S, S, 3] and evidence maps go out as [B, h, w, K], as
in every file.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.augment.config import IDENTITY
from trainer.exporting.contract import (
    CLASS_ACTIVATION,
    FILE_NAME,
    INPUT,
    LABELS_FILE,
    PROBABILITIES,
    Contract,
    contract_files,
)
from trainer.exporting.plain_network import PIXELS, Operation, PlainNetwork
from trainer.inference_settings import LEAST_PROBABILITY, InferenceSettings
from trainer.metrics.ensemble import Space

OPSET = 17
IR_VERSION = 9


def onnx_model(
    network: PlainNetwork,
    settings: InferenceSettings,
    contract: Contract,
    with_activation: bool = True,
) -> Any:
    """The exported function as an `onnx.ModelProto`, checked, with the contract as metadata.

    What ONNX files of this program cannot hold is up to `check_expressible`.
    """
    import onnx

    writer = _Writer()
    pixels = writer.add("Cast", [INPUT], to=onnx.TensorProto.FLOAT)
    results = []
    for index, view in enumerate(settings.views):
        seen = writer.mirrored(pixels) if view.mirror else pixels
        prefix = "" if len(settings.views) == 1 else f"view{index}/"
        seen = writer.add("Transpose", [seen], perm=[0, 3, 1, 2])
        with_maps = with_activation and view == IDENTITY
        results.append(_look(writer, network, seen, prefix, with_maps))
    _average(writer, [logits for logits, _ in results], settings)
    if with_activation:
        maps = results[settings.views.index(IDENTITY)][1]
        writer.add("Transpose", [maps], name=CLASS_ACTIVATION, perm=[0, 2, 3, 1])
    return writer.model(network, contract, with_activation)


class _Writer:
    """Collects nodes and constants; every result has a name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(
        self, kind: str, inputs: Sequence[str], name: str | None = None, **attributes: Any
    ) -> str:
        from onnx import helper

        name = name or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, array: np.ndarray) -> str:
        """A constant; one of the same name is the same."""
        self.constants.setdefault(name, np.ascontiguousarray(array))
        return name

    def scalar(self, value: float) -> str:
        return self.constant(f"scalar_{value!r}", np.array(value, np.float32))

    def integers(self, *values: int) -> str:
        return self.constant("integers_" + "_".join(map(str, values)), np.array(values, np.int64))

    def mirrored(self, pixels: str) -> str:
        """[B, S, S, 3] with the third axis backwards."""
        lowest = int(np.iinfo(np.int64).min)
        arguments = [self.integers(value) for value in (-1, lowest, 2, -1)]
        return self.add("Slice", [pixels, *arguments])

    def model(self, network: PlainNetwork, contract: Contract, with_activation: bool) -> Any:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        px, num_classes = network.image_px, network.num_classes
        value = helper.make_tensor_value_info
        outputs: dict[str, list[Any]] = {PROBABILITIES: ["batch", num_classes]}
        if with_activation:
            outputs[CLASS_ACTIVATION] = ["batch", None, None, num_classes]
        graph = helper.make_graph(
            self.nodes,
            "classifier",
            [value(INPUT, TensorProto.UINT8, ["batch", px, px, 3])],
            [value(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        model = helper.make_model(
            graph,
            producer_name="trainer.export",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        files = contract_files(contract)
        helper.set_model_props(model, {name: files[name] for name in (FILE_NAME, LABELS_FILE)})
        onnx.checker.check_model(model, full_check=True)
        return model


def _look(
    writer: _Writer, network: PlainNetwork, pixels: str, prefix: str, with_maps: bool
) -> tuple[str, str]:
    """(logits [B, K], evidence maps [B, K, h, w] or "") of pixels [B, 3, S, S]."""
    names = {PIXELS: pixels}
    for operation in network.operations:
        inputs = [names[name] for name in operation.inputs]
        names[operation.name] = _operation(writer, operation, inputs, prefix)
    features = names[network.operations[-1].name]
    pooled = writer.add("Flatten", [writer.add("GlobalAveragePool", [features])])
    kernel = writer.constant("head/kernel", network.head_kernel)
    bias = writer.constant("head/bias", network.head_bias)
    logits = writer.add("Gemm", [pooled, kernel, bias], name=f"{prefix}logits")
    if not with_maps:
        return logits, ""
    as_filter = writer.constant("head/filter", network.head_kernel.T[:, :, np.newaxis, np.newaxis])
    return logits, writer.add("Conv", [features, as_filter, bias], name=f"{prefix}evidence")


def _operation(writer: _Writer, operation: Operation, inputs: list[str], prefix: str) -> str:
    name = prefix + operation.name
    match operation.kind:
        case "scale":
            assert operation.kernel is not None, "a scale has a factor"
            assert operation.bias is not None, "a scale has an offset"
            factor, offset = (
                writer.constant(f"{operation.name}/{part}", array.reshape(1, -1, 1, 1))
                for part, array in (("factor", operation.kernel), ("offset", operation.bias))
            )
            return writer.add("Add", [writer.add("Mul", [inputs[0], factor]), offset], name=name)
        case "pad":
            (top, bottom), (left, right) = operation.pads
            pads = writer.integers(0, 0, top, left, 0, 0, bottom, right)
            return writer.add("Pad", [inputs[0], pads], name=name)
        case "conv" | "depthwise":
            return _convolution(writer, operation, inputs[0], name)
        case "silu":
            gate = writer.add("Sigmoid", [inputs[0]])
            return writer.add("Mul", [inputs[0], gate], name=name)
        case "sigmoid":
            return writer.add("Sigmoid", inputs, name=name)
        case "mean":
            return writer.add("GlobalAveragePool", inputs, name=name)
        case "add":
            return writer.add("Add", inputs, name=name)
        case "multiply":
            return writer.add("Mul", inputs, name=name)
    raise AssertionError(f"no such operation: {operation.kind}")


def _convolution(writer: _Writer, operation: Operation, x: str, name: str) -> str:
    assert operation.kernel is not None, "a convolution has a kernel"
    assert operation.bias is not None, "a convolution has a bias"
    # [h, w, in, out] to [out, in, h, w]; depthwise: [h, w, C, 1] to [C, 1, h, w].
    is_depthwise = operation.kind == "depthwise"
    order = (2, 3, 0, 1) if is_depthwise else (3, 2, 0, 1)
    kernel = writer.constant(f"{operation.name}/kernel", operation.kernel.transpose(order))
    bias = writer.constant(f"{operation.name}/bias", operation.bias)
    return writer.add(
        "Conv",
        [x, kernel, bias],
        name=name,
        strides=list(operation.strides),
        auto_pad="SAME_UPPER" if operation.padding == "SAME" else "VALID",
        group=operation.kernel.shape[2] if is_depthwise else 1,
    )


def _average(writer: _Writer, logits: list[str], settings: InferenceSettings) -> None:
    """As `InferenceSettings.predict` does it; the result is named as the output."""
    temperature = writer.scalar(settings.temperature)
    if len(logits) == 1:
        scaled = writer.add("Div", [logits[0], temperature])
        writer.add("Softmax", [scaled], name=PROBABILITIES, axis=-1)
        return
    total = sum(settings.average.weights)
    smallest = writer.scalar(LEAST_PROBABILITY)
    in_logits = settings.average.space is Space.LOGITS
    parts = []
    for name, weight in zip(logits, settings.average.weights, strict=True):
        member = writer.add("Softmax", [name], axis=-1)
        if in_logits:
            member = writer.add("Log", [writer.add("Max", [member, smallest])])
        parts.append(writer.add("Mul", [member, writer.scalar(weight / total)]))
    mixed = writer.add("Sum", parts)
    if not in_logits:
        mixed = writer.add("Log", [writer.add("Max", [mixed, smallest])])
    scaled = writer.add("Div", [mixed, temperature])
    writer.add("Softmax", [scaled], name=PROBABILITIES, axis=-1)
