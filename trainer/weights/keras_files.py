"""Keras files of both generations, read by name and shape; no layer is built, no code is run.

- legacy HDF5, of Keras 1 to 3: weights only, or a whole model with its weights in `model_weights`
- the container of Keras 2.12 and later: `.weights.h5`, or `.keras`, a zip with `config.json` and
  `model.weights.h5`
"""

import json
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.weights import hdf5
from trainer.weights.naming import OPTIMIZER, name_by_order, tensor_key
from trainer.weights.tensors import TRUNK_LAYER, StoredTensor, WeightFile, WeightsError

if TYPE_CHECKING:
    import h5py

ZIP_SIGNATURE = b"PK\x03\x04"
MAX_CONFIG_BYTES = 64 << 20
# The largest file met is V2-L with two Adam slots: 119e6 parameters * 3 * 4 bytes = 1.4 GB.
MAX_WEIGHTS_BYTES = 4 << 30
# Weights hardly compress; slots full of zeros do, but Keras stores them uncompressed.
MAX_EXPANSION = 100
_EXPANSION_FLOOR_BYTES = 1 << 20

_CONV_VARIABLES = ("kernel", "bias")
_NORM_VARIABLES = ("gamma", "beta", "moving_mean", "moving_variance")
_PREPROCESSING_VARIABLES = ("mean", "variance", "count")


@contextmanager
def open_keras_hdf5(path: Path, sha256: str) -> Iterator[WeightFile]:
    """An `.h5`, `.hdf5` or `.weights.h5` file; its tensors can be read while the context is open.

    Raises:
        WeightsError: it is damaged, or not written by Keras.
    """
    with hdf5.open_hdf5(path) as file:
        with hdf5.damage_of(str(path)):
            contents = _read_hdf5(file, str(path), sha256, config=None)
        yield contents


@contextmanager
def open_keras_archive(path: Path, sha256: str) -> Iterator[WeightFile]:
    """A `.keras` file.

    Raises:
        WeightsError: it is damaged, not written by Keras, or would unpack to an absurd size.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise WeightsError(
            f"{path} is not a whole zip archive ({error}); it may be cut short: "
            "download or copy it again"
        ) from error
    with archive, tempfile.TemporaryDirectory(prefix="keras-weights-") as folder:
        weights = _member(archive, path, "model.weights.h5", MAX_WEIGHTS_BYTES)
        configuration = _member(archive, path, "config.json", MAX_CONFIG_BYTES)
        unpacked = Path(folder) / "model.weights.h5"
        try:
            config = _parse_config(archive.read(configuration), str(path))
            with archive.open(weights) as source, unpacked.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise WeightsError(f"{path} is damaged ({error}); download or copy it again") from error
        with hdf5.open_hdf5(unpacked) as file:
            with hdf5.damage_of(str(path)):
                contents = _read_hdf5(file, str(path), sha256, config=config)
            yield contents


def _member(archive: zipfile.ZipFile, path: Path, name: str, limit: int) -> zipfile.ZipInfo:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise WeightsError(
            f"{path} is a zip archive without {name!r}; a .keras file, as model.save() writes it, "
            "is needed"
        ) from None
    expands = info.file_size > max(_EXPANSION_FLOOR_BYTES, MAX_EXPANSION * info.compress_size)
    if info.file_size > limit or expands:
        raise WeightsError(
            f"{path} holds {name!r} that unpacks from {info.compress_size:,} to "
            f"{info.file_size:,} bytes; at most {limit:,}, and {MAX_EXPANSION} times the packed "
            "size, are accepted: it is no honest file"
        )
    return info


def _read_hdf5(
    file: "h5py.File", source: str, sha256: str, config: dict[str, Any] | None
) -> WeightFile:
    version = hdf5.to_text(file.attrs.get("keras_version", ""))
    named = True
    if hdf5.text_list(file, "layer_names") is not None:
        form = f"Keras {version or '1'} HDF5, weights only"
        tensors = list(_legacy_tensors(file))
    elif "model_weights" in file:
        form = f"Keras {version or '1'} HDF5, whole model"
        tensors = list(_legacy_tensors(hdf5.member(file, "model_weights")))
        if "optimizer_weights" in file:
            slots = hdf5.walk_datasets(hdf5.member(file, "optimizer_weights"))
            tensors += [hdf5.stored_tensor(slot, slot.name, OPTIMIZER) for slot in slots]
        if "model_config" in file.attrs:
            config = _parse_config(hdf5.to_text(file.attrs["model_config"]), source)
    elif "layers" in file or "_layer_checkpoint_dependencies" in file or "vars" in file:
        form = "Keras archive" if config else "Keras weights container"
        named, tensors = _container_tensors(file)
        if not named and config is not None:
            named, tensors = True, list(name_by_order(tensors, _config_order(config)))
    else:
        raise WeightsError(
            f"{source} is HDF5, but not written by Keras (it holds {sorted(file)[:5]}); "
            "give a file that model.save() or model.save_weights() wrote"
        )
    return WeightFile(
        source=source,
        format=form,
        sha256=sha256,
        tensors=tuple(tensors),
        named=named,
        notes=_notes(config),
    )


def _legacy_tensors(group: "h5py.Group") -> Iterator[StoredTensor]:
    """The layout up to Keras 2 (and of Keras 3 for .h5): a group a layer, names in attributes."""
    layers = hdf5.text_list(group, "layer_names") or []
    if "top_level_model_weights" in group:
        layers.append("top_level_model_weights")
    for layer in layers:
        layer_group = hdf5.member(group, layer)
        for weight in hdf5.text_list(layer_group, "weight_names") or []:
            *scope, variable = weight.split("/")
            # A nested model is one layer of the file; then only the weight's own name tells more.
            owner = layer if TRUNK_LAYER.fullmatch(layer) or not scope else scope[-1]
            yield hdf5.stored_tensor(hdf5.member(layer_group, weight), tensor_key(owner, variable))


def _container_tensors(file: "h5py.File") -> tuple[bool, list[StoredTensor]]:
    """The layout of Keras 2.12 and later: `<path of the layer>/vars/<number>`.

    Since 3.3 `vars` carries the name of its layer. Returns whether it does, and the tensors.
    """
    tensors: list[StoredTensor] = []
    named = False
    groups: dict[str, list[h5py.Dataset]] = {}
    for dataset in hdf5.walk_datasets(file):
        groups.setdefault(dataset.parent.name, []).append(dataset)
    for path, datasets in groups.items():
        owner = path.removesuffix("/vars").strip("/")
        optimizer = OPTIMIZER if owner.split("/")[0] == "optimizer" else ""
        name = file[path].attrs.get("name")
        if name is not None and not optimizer:
            named, owner = True, hdf5.to_text(name)
        datasets.sort(key=lambda dataset: _last_number(dataset.name))
        for dataset, variable in zip(datasets, _variable_names(owner, datasets), strict=True):
            tensors.append(hdf5.stored_tensor(dataset, tensor_key(owner, variable), optimizer))
    return named, tensors


def _last_number(name: str) -> tuple[int, str]:
    last = name.rpartition("/")[2]
    return (int(last), "") if last.isdecimal() else (1 << 31, last)


def _variable_names(owner: str, datasets: list["h5py.Dataset"]) -> tuple[str, ...]:
    """What the numbered variables of a layer are, told by their count and rank."""
    ranks = [len(dataset.shape) for dataset in datasets]
    if ranks == [1, 1, 1, 1]:
        return _NORM_VARIABLES
    if ranks in ([1, 1, 0], [1, 1, 1]) and "normalization" in owner:
        return _PREPROCESSING_VARIABLES
    if ranks and ranks[0] >= 2 and ranks[1:] in ([], [1]):
        return _CONV_VARIABLES[: len(ranks)]
    if ranks == [1] and datasets[0].dtype.kind in "iu":
        return ("seed_generator_state",)
    return tuple(dataset.name.rpartition("/")[2] for dataset in datasets)


def _parse_config(text: str | bytes, source: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"{source} has a damaged model configuration ({error}); download or copy it again"
        ) from error
    return config if isinstance(config, dict) else {}


def _layer_configs(config: Any) -> Iterator[list[dict[str, Any]]]:
    """Every list of layers in a model's configuration, nested models included."""
    if isinstance(config, dict):
        layers = config.get("layers")
        if isinstance(layers, list):
            yield [layer for layer in layers if isinstance(layer, dict)]
        for value in config.values():
            yield from _layer_configs(value)
    elif isinstance(config, list):
        for value in config:
            yield from _layer_configs(value)


def _layer_name(layer: dict[str, Any]) -> str:
    config = layer.get("config")
    return str(config.get("name", "")) if isinstance(config, dict) else ""


_KINDS = {"Conv2D": "conv", "DepthwiseConv2D": "depthwise", "BatchNormalization": "norm"}


def _config_order(config: dict[str, Any]) -> list[tuple[str, str]]:
    """(kind, name) of the layers of the largest model in a configuration."""
    largest = max(_layer_configs(config), key=len, default=[])
    return [
        (_KINDS[layer["class_name"]], _layer_name(layer))
        for layer in largest
        if layer.get("class_name") in _KINDS
    ]


def _notes(config: dict[str, Any] | None) -> tuple[str, ...]:
    if config is None:
        return ()
    found = {
        _layer_name(layer)
        for layers in _layer_configs(config)
        for layer in layers
        if re.fullmatch(r"Lambda|TFOpLambda|SlicingOpLambda", str(layer.get("class_name")))
    }
    return tuple(
        f"the model in the file has a Lambda layer {name!r}; its code was not run, and what it "
        "does to the image or the features is not part of the weights"
        for name in sorted(found)
    )
