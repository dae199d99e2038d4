"""Weights of an earlier run: one safetensors file, keyed exactly as the network is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from trainer.weights.naming import reason_to_leave_out
from trainer.weights.tensors import StoredTensor, WeightFile, WeightsError

MODEL_FILE = "model.safetensors"
_BACKBONE = "backbone"
_CLASSES = "classes"


@contextmanager
def open_safetensors(path: Path, sha256: str) -> Iterator[WeightFile]:
    """A safetensors file of ours; `classes` in its metadata is a JSON list of class names.

    Raises:
        WeightsError: it is damaged, or its metadata is.
    """
    from safetensors import SafetensorError, safe_open

    try:
        # The format is checked as a whole when opened: offsets, sizes, no code.
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = tuple(_stored_tensor(file, key) for key in sorted(file.keys()))
            yield WeightFile(
                source=str(path),
                format=f"safetensors{_of_backbone(metadata)}",
                sha256=sha256,
                tensors=tensors,
                classes=_class_names(metadata, path),
            )
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not a whole safetensors file ({error}); copy it again, or name another run"
        ) from error


def _of_backbone(metadata: dict[str, str]) -> str:
    return f", {metadata[_BACKBONE]}" if _BACKBONE in metadata else ""


def _stored_tensor(file: object, key: str) -> StoredTensor:
    part = file.get_slice(key)  # type: ignore[attr-defined]

    def read() -> np.ndarray:
        values: np.ndarray = file.get_tensor(key)  # type: ignore[attr-defined]
        return values

    return StoredTensor(
        name=key,
        key=key,
        shape=tuple(part.get_shape()),
        dtype=str(part.get_dtype()),
        read=read,
        left_out=reason_to_leave_out(key),
    )


def _class_names(metadata: dict[str, str], path: Path) -> tuple[str, ...] | None:
    if _CLASSES not in metadata:
        return None
    try:
        classes = json.loads(metadata[_CLASSES])
    except ValueError as error:
        raise WeightsError(
            f"{path} has damaged class names in its metadata ({error}); name another run"
        ) from error
    return tuple(str(name) for name in classes)
