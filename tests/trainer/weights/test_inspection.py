"""What is in a file, and how two differ."""

from pathlib import Path

import numpy as np
import pytest

from tests.trainer.weights import written
from trainer.weights.inspection import compare, describe, describe_comparison
from trainer.weights.loading import open_weights
from trainer.weights.tensors import StoredTensor, WeightFile


def file_of(**arrays: np.ndarray) -> WeightFile:
    tensors = tuple(
        StoredTensor(
            name=f"of/{key}",
            key=key,
            shape=values.shape,
            dtype=str(values.dtype),
            read=lambda values=values: values,
            left_out="a slot" if key.startswith("slot") else "",
        )
        for key, values in arrays.items()
    )
    return WeightFile(source="f", format="F", sha256="", tensors=tensors)


def test_whole_model_is_told_part_by_part(tmp_path: Path, b0) -> None:
    dense = {"dense/kernel": np.ones((1280, 10), np.float32)}
    path = tmp_path / "model.hdf5"
    written.write_keras2_model(path, {**b0, **dense}, lambda_layer=True)
    with open_weights(str(path)) as file:
        text = "\n".join(describe(file))
    assert "format       Keras 2.4.0 HDF5, whole model" in text
    assert "backbone     EfficientNetB0\n" in text
    assert "trunk        309 tensors, 4,049,564 values" in text
    assert "left out     621 tensors: state of an optimizer" in text
    assert "layer        dense: kernel [1280, 10]" in text
    assert "note         the model in the file has a Lambda layer 'halve'" in text


def test_numbered_layers_are_shown_by_their_names(tmp_path: Path, b0) -> None:
    path = tmp_path / "model.weights.h5"
    written.write_numbered_weights(path, b0)
    with open_weights(str(path)) as file:
        lines = list(describe(file, every_tensor=True))
    assert "backbone     EfficientNetB0" in lines
    shown = next(line for line in lines if line.startswith("block1a_dwconv/kernel"))
    assert shown.split()[1:] == [
        "float32",
        "[3,",
        "3,",
        "32,",
        "1]",
        "layers/depthwise_conv2d/vars/0",
    ]


def test_part_of_a_trunk_is_told_as_such(tmp_path: Path, b0) -> None:
    part = dict(list(b0.items())[:200])
    with open_weights(str(written.write_keras2_weights(tmp_path / "w.h5", part))) as file:
        assert "backbone     closest to EfficientNetB0, 65% of the variables fit" in describe(file)


def test_equal_files_are_the_same() -> None:
    values = np.arange(6.0).reshape(2, 3)
    comparison = compare(file_of(a=values, slot=values), file_of(a=values.astype(np.float32)))
    assert comparison.same
    assert list(describe_comparison(comparison)) == ["the same: 1 tensors are equal bit for bit"]


def test_differences_are_sorted_by_size() -> None:
    ones = np.ones(4, np.float32)
    comparison = compare(
        file_of(a=ones, b=ones, c=ones, d=ones, e=ones),
        file_of(a=ones, b=ones * 1.25, c=ones * 3, d=ones[:2], f=ones),
    )
    assert comparison.equal == ("a",)
    assert comparison.changed == pytest.approx({"c": 2.0, "b": 0.25})
    assert list(comparison.changed) == ["c", "b"]
    assert comparison.reshaped == {"d": ((4,), (2,))}
    assert comparison.only_first == ("e",)
    assert comparison.only_second == ("f",)
    lines = list(describe_comparison(comparison))
    assert lines[0].startswith("different: 1 tensors equal, 2 of other values, 1 of other shape")
    assert "other values        c: relative RMS difference 2" in lines


def test_zeros_that_changed_do_not_divide_by_nothing() -> None:
    zeros = np.zeros(3, np.float32)
    comparison = compare(file_of(a=zeros), file_of(a=zeros + 1))
    assert np.isfinite(comparison.changed["a"])
