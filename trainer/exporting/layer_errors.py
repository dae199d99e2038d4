"""Which layers of a LiteRT file are off the network that it was made of."""

from pathlib import Path
from typing import Any

import numpy as np


def layer_errors(
    file: bytes | Path, features: dict[str, np.ndarray], pixels: np.ndarray
) -> dict[str, tuple[float, str]]:
    """How far a file's layers are off, by layer: (error, name of its tensor in the file).

    Args:
        file: a LiteRT file.
        features: results of the network's operations on the pixels, by name, in their order.
        pixels: uint8 [B, S, S, 3].

    Returns:
        Root mean square of the difference over that of the values; what a layer's inputs had
        already lost is taken off, so that layers stand first that lose themselves.
    """
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
    found: dict[str, tuple[float, str]] = {}
    before = 0.0
    details: dict[str, Any] = {}
    for entry in interpreter.get_tensor_details():
        for name in entry["name"].split(";"):
            details.setdefault(name, entry)
    for name, expected in features.items():
        entry = details.get(name)
        if entry is None or tuple(entry["shape"]) != expected.shape:
            continue
        values = interpreter.get_tensor(entry["index"]).astype(np.float32)
        scales = entry["quantization_parameters"]["scales"]
        if len(scales):
            values = (values - entry["quantization_parameters"]["zero_points"]) * scales
        size = float(np.sqrt(np.mean(np.square(expected)))) or 1.0
        error = float(np.sqrt(np.mean(np.square(values - expected)))) / size
        found[name] = (max(error - before, 0.0), entry["name"])
        before = error
    return found
