"""Writes weight files in the layouts that Keras has used, without Keras."""

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Arrays = Mapping[str, np.ndarray]


def random_arrays(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Values in [0, 1), all different from variable to variable."""
    rng = np.random.default_rng(seed)
    return {key: rng.random(shape, np.float32) for key, shape in shapes.items()}


def by_layer(arrays: Arrays) -> dict[str, dict[str, np.ndarray]]:
    layers: dict[str, dict[str, np.ndarray]] = {}
    for key, values in arrays.items():
        layer, _, variable = key.rpartition("/")
        layers.setdefault(layer, {})[variable] = values
    return layers


def keras2_name(layer: str, variable: str) -> str:
    return f"{layer}/{'depthwise_kernel' if 'dwconv' in layer else variable}:0"


def write_keras2_group(
    group: h5py.Group, arrays: Arrays, nested_in: str | None = None, pieces: int = 1
) -> None:
    """Layer groups with names in attributes; `nested_in` puts the trunk in one layer."""
    layers = by_layer(arrays)
    names = list(layers)
    if nested_in:
        owners = {nested_in if not name.startswith("dense") else name: None for name in names}
        names = list(owners)
    if pieces == 1:
        group.attrs["layer_names"] = [name.encode() for name in names]
    else:
        for number, part in enumerate(
            np.array_split(np.array([n.encode() for n in names]), pieces)
        ):
            group.attrs[f"layer_names{number}"] = part
    group.attrs["keras_version"] = b"2.4.0"
    weights: dict[str, list[bytes]] = {name: [] for name in names}
    for layer, variables in layers.items():
        owner = layer if layer in weights else str(nested_in)
        for variable, values in variables.items():
            name = keras2_name(layer, variable)
            group.create_dataset(f"{owner}/{name}", data=values)
            weights[owner].append(name.encode())
    for name, found in weights.items():
        group.require_group(name).attrs["weight_names"] = found


def write_keras2_weights(path: Path, arrays: Arrays, pieces: int = 1) -> Path:
    """What `model.save_weights("x.h5")` wrote."""
    with h5py.File(path, "w") as file:
        write_keras2_group(file, arrays, pieces=pieces)
        file.attrs["keras_version"] = b"2.4.0"
    return path


def write_keras2_model(
    path: Path, arrays: Arrays, *, lambda_layer: bool = False, nested_in: str | None = None
) -> Path:
    """What `model.save("x.hdf5")` wrote after training with Adam: weights and two slots."""
    layers = [{"class_name": "Conv2D", "config": {"name": "stem_conv"}}]
    if lambda_layer:
        # Keras 2 wrote a function's bytecode here, in marshal format and base64.
        code = ["4wEAAAAAAAAAaW1wb3J0IG9z\n", None, None]
        layers.append({"class_name": "Lambda", "config": {"name": "halve", "function": code}})
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = b"2.4.0"
        file.attrs["model_config"] = json.dumps(
            {"class_name": "Functional", "config": {"layers": layers}}
        )
        write_keras2_group(file.create_group("model_weights"), arrays, nested_in=nested_in)
        slots = file.create_group("optimizer_weights")
        slots.create_dataset("Adam/iter:0", data=7)
        for key, values in arrays.items():
            for slot in ("m", "v"):
                slots.create_dataset(f"Adam/{key}/{slot}:0", data=np.zeros_like(values))
    return path


_CLASSES = {"conv": "Conv2D", "depthwise": "DepthwiseConv2D", "norm": "BatchNormalization"}
_FOLDERS = {"conv": "conv2d", "depthwise": "depthwise_conv2d", "norm": "batch_normalization"}


def kind_of(layer: str, variables: Iterable[str]) -> str:
    if "gamma" in variables:
        return "norm"
    return "depthwise" if "dwconv" in layer else "conv"


def write_numbered_weights(
    path: Path, arrays: Arrays, container: str = "layers"
) -> list[dict[str, Any]]:
    """What Keras 2.12 to 3.2 wrote: layers numbered by kind. Returns the layers' configuration."""
    configuration: list[dict[str, Any]] = [
        {"class_name": "InputLayer", "config": {"name": "input_1"}},
        {"class_name": "Rescaling", "config": {"name": "rescaling"}},
    ]
    seen = dict.fromkeys(_CLASSES, 0)
    with h5py.File(path, "w") as file:
        file.create_group(f"{container}/rescaling/vars")
        for layer, variables in by_layer(arrays).items():
            kind = kind_of(layer, variables)
            suffix = f"_{seen[kind]}" if seen[kind] else ""
            seen[kind] += 1
            group = file.create_group(f"{container}/{_FOLDERS[kind]}{suffix}/vars")
            for number, values in enumerate(variables.values()):
                group.create_dataset(str(number), data=values)
            configuration.append({"class_name": _CLASSES[kind], "config": {"name": layer}})
        slots = file.create_group("optimizer/vars")
        slots.create_dataset("0", data=3)
    return configuration


def write_numbered_archive(path: Path, arrays: Arrays, container: str = "layers") -> Path:
    """A `.keras` file of the same generation."""
    weights = path.with_suffix(".weights.h5")
    layers = write_numbered_weights(weights, arrays, container)
    model = {"class_name": "Functional", "config": {"name": "efficientnetb0", "layers": layers}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.13.1"}))
        archive.writestr("config.json", json.dumps(model))
        archive.write(weights, "model.weights.h5")
    return path
