"""Which layers of a LiteRT file are off the network that it was made of."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.exporting.plain_network import Operation, PlainNetwork
from trainer.exporting.result_names import read_results, view_layers


def layer_errors(
    file: bytes | Path,
    network: PlainNetwork,
    features: Iterable[Mapping[str, np.ndarray]],
    pixels: np.ndarray,
) -> dict[str, float]:
    """How much each layer of a file loses itself, in the view where it loses most.

    Args:
        file: a LiteRT file.
        network: what it was made of.
        features: results of the network's operations on the pixels, by name, of one view after
            the other.
        pixels: uint8 [B, S, S, 3].

    Returns:
        Root mean square of the difference over that of the values, less what the layer's inputs
        had already lost. Layers whose results are not in the file are left out: the converter has
        joined them to others.
    """
    interpreter = _run(file, pixels)
    tensors: dict[tuple[int, str], list[int]] = {}
    for result in read_results(interpreter):
        for view_layer in view_layers(result.name):
            tensors.setdefault(view_layer, []).append(result.tensor)
    details = {entry["index"]: entry for entry in interpreter.get_tensor_details()}
    losses: dict[str, float] = {}
    for view, expected_by_name in enumerate(features):
        errors: dict[str, float] = {}
        for name, expected in expected_by_name.items():
            # The first is the layer's own; copies in the other type, and kernels that are
            # unpacked while the file runs, bear its name too.
            shaped = (
                details[tensor]
                for tensor in tensors.get((view, name), ())
                if tuple(details[tensor]["shape"]) == expected.shape
            )
            entry = next(shaped, None)
            if entry is not None:
                errors[name] = _relative_error(_values(interpreter, entry), expected)
        for name, loss in own_losses(network.operations, errors).items():
            losses[name] = max(loss, losses.get(name, 0.0))
    return losses


def own_losses(operations: Sequence[Operation], errors: Mapping[str, float]) -> dict[str, float]:
    """Errors less the largest of each operation's own inputs, at least 0.

    Args:
        operations: in an order in which they can be computed.
        errors: of results, by name. An operation without one is as far off as its inputs.
    """
    off: dict[str, float] = {}
    losses: dict[str, float] = {}
    for operation in operations:
        before = max((off.get(name, 0.0) for name in operation.inputs), default=0.0)
        off[operation.name] = errors.get(operation.name, before)
        if operation.name in errors:
            losses[operation.name] = max(errors[operation.name] - before, 0.0)
    return losses


def _run(file: bytes | Path, pixels: np.ndarray) -> Any:
    """An interpreter that has seen the pixels and still has the results of all operations."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    arguments: dict[str, Any] = (
        {"model_content": file} if isinstance(file, bytes) else {"model_path": str(file)}
    )
    interpreter = Interpreter(
        **arguments,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, pixels.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(index, pixels)
    interpreter.invoke()
    return interpreter


def _values(interpreter: Any, entry: Mapping[str, Any]) -> np.ndarray:
    """A tensor's float32 values, whatever it is kept in."""
    values: np.ndarray = interpreter.get_tensor(entry["index"]).astype(np.float32)
    quantization = entry["quantization_parameters"]
    if len(quantization["scales"]):
        values = (values - quantization["zero_points"]) * quantization["scales"]
    return values


def _relative_error(values: np.ndarray, expected: np.ndarray) -> float:
    size = float(np.sqrt(np.mean(np.square(expected)))) or 1.0
    return float(np.sqrt(np.mean(np.square(values - expected)))) / size
