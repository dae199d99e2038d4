"""From any format to one safetensors file in the names of Keras 3."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trainer.weights.backbones import canonical_backbone, trunk_shapes
from trainer.weights.loading import load_weights, open_weights
from trainer.weights.matching import identify
from trainer.weights.tensors import WeightsError

SUFFIX = ".safetensors"


def convert(source: str, target: Path, backbone: str = "") -> str:
    """Writes the trunk of `source` to `target`; returns one line that says what was done.

    The file's metadata hold the backbone, the source and the source's SHA-256.

    Args:
        source: as for `load_weights`.
        target: a `.safetensors` file; it appears whole or not at all.
        backbone: found from the file where it is empty.

    Raises:
        WeightsError: the source is no whole trunk of an EfficientNet, or the target cannot be
            written.
    """
    if target.suffix != SUFFIX:
        raise WeightsError(
            f"{target} does not end in {SUFFIX}; that is the one format written: rename it"
        )
    if not target.parent.is_dir():
        raise WeightsError(f"there is no folder {target.parent} to write {target.name} in; make it")
    name = canonical_backbone(backbone) if backbone else _find_backbone(source)
    loaded = load_weights(source, name, trunk_shapes(name))
    metadata = {"backbone": name, "source": Path(source).name, "source_sha256": loaded.sha256}
    write_safetensors(target, loaded.arrays, metadata)
    notes = "".join(f"\nnote: {note}" for note in loaded.notes)
    return (
        f"{target}: {len(loaded.arrays):,} tensors of {name}; "
        f"{len(loaded.left_out):,} of the source left out{notes}"
    )


def write_safetensors(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes arrays and text metadata to a file that appears whole or not at all."""
    from safetensors.numpy import save_file

    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(dict(arrays), unfinished, dict(metadata))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _find_backbone(source: str) -> str:
    with open_weights(source) as file:
        closest = identify(file)
    if closest is None or closest[1] < 1:
        found = (
            "nothing of an EfficientNet" if closest is None else f"{closest[1]:.0%} of {closest[0]}"
        )
        raise WeightsError(
            f"{source} holds {found}; a whole trunk is needed: give another file, or --backbone to "
            "hear what is missing"
        )
    return closest[0]
