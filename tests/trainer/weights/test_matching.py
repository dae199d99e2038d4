"""Complete or an error: names and shapes only, no values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.weights import WeightsError
from trainer.weights.backbones import trunk_shapes
from trainer.weights.matching import assign
from trainer.weights.tensors import StoredTensor, WeightFile

B0 = "EfficientNetB0"
TRUNK = dict(trunk_shapes(B0))
HEAD = {"head_bn/gamma": (1280,), "head_logits/kernel": (1280, 10), "head_logits/bias": (10,)}


def unread() -> np.ndarray:
    raise AssertionError("matching must not read values")


def tensor(key: str, shape: tuple[int, ...], name: str = "", left_out: str = "") -> StoredTensor:
    return StoredTensor(
        name=name or f"file/{key}",
        key=key,
        shape=shape,
        dtype="float32",
        read=unread,
        left_out=left_out,
    )


def file_of(shapes: dict[str, tuple[int, ...]], *more: StoredTensor) -> WeightFile:
    tensors = tuple(tensor(key, shape) for key, shape in shapes.items())
    return WeightFile(source="some.h5", format="Keras", sha256="", tensors=(*tensors, *more))


def test_every_variable_is_used_once_and_nothing_is_left() -> None:
    assignment = assign(file_of(TRUNK), B0, TRUNK)
    assert list(assignment.used) == list(TRUNK)
    assert len({found.name for found in assignment.used.values()}) == len(TRUNK)
    assert assignment.left_out == {}


@given(st.data())
def test_every_tensor_of_a_file_is_used_or_has_a_reason(data) -> None:
    extra = data.draw(st.dictionaries(st.text("abc_/", min_size=3), st.just((3,)), max_size=5))
    slots = [
        tensor("x", (1,), name=f"slot{n}", left_out="slot")
        for n in range(data.draw(st.integers(0, 3)))
    ]
    shapes = {**TRUNK, **HEAD, **extra} if data.draw(st.booleans()) else {**TRUNK, **extra}
    file = file_of(shapes, *slots)
    assignment = assign(file, B0, {**TRUNK, **HEAD})
    used = {found.name for found in assignment.used.values()}
    assert used | assignment.left_out.keys() == {found.name for found in file.tensors}
    assert not used & assignment.left_out.keys()
    assert all(assignment.left_out.values())


@given(st.sets(st.sampled_from(sorted(TRUNK)), min_size=1, max_size=10))
def test_missing_variables_are_an_error_that_counts_them(missing) -> None:
    shapes = {key: shape for key, shape in TRUNK.items() if key not in missing}
    with pytest.raises(
        WeightsError, match=f"{len(missing)} of 309 variables are missing in the file"
    ):
        assign(file_of(shapes), B0, TRUNK)


@pytest.mark.parametrize("other", ["EfficientNetB1", "EfficientNetB4", "EfficientNetV2B0"])
def test_another_variant_is_named(other) -> None:
    with pytest.raises(
        WeightsError, match=f"does not fit {B0}; .* This is {other}: choose that backbone"
    ):
        assign(file_of(dict(trunk_shapes(other))), B0, TRUNK)


def test_trunk_tensor_without_a_place_is_an_error() -> None:
    more = tensor("block2c_expand_conv/kernel", (1, 1, 24, 144))
    with pytest.raises(
        WeightsError, match=r"1 of the file are missing in the network: block2c_expand_conv"
    ):
        assign(file_of(TRUNK, more), B0, TRUNK)


def test_one_wrong_shape_is_shown_from_both_sides() -> None:
    shapes = {**TRUNK, "stem_conv/kernel": (3, 3, 1, 32)}
    with pytest.raises(
        WeightsError, match=r"stem_conv/kernel \(file \[3, 3, 1, 32\], network \[3, 3, 3, 32\]\)"
    ):
        assign(file_of(shapes), B0, TRUNK)


def test_two_tensors_for_one_variable_are_an_error() -> None:
    twin = tensor("stem_conv/kernel", TRUNK["stem_conv/kernel"], name="second/stem_conv/kernel")
    with pytest.raises(WeightsError, match="stem_conv/kernel more than once"):
        assign(file_of(TRUNK, twin), B0, TRUNK)


def test_file_of_another_family_names_its_layers() -> None:
    with pytest.raises(WeightsError, match=r"no layers of an EfficientNet \(but conv1, fc1000\)"):
        assign(file_of({"conv1/kernel": (7, 7, 3, 64), "fc1000/kernel": (2048, 1000)}), B0, TRUNK)


class TestHead:
    def test_same_head_is_taken(self) -> None:
        assignment = assign(file_of({**TRUNK, **HEAD}), B0, {**TRUNK, **HEAD})
        assert assignment.used.keys() == {**TRUNK, **HEAD}.keys()
        assert assignment.not_filled == ()

    def test_head_for_other_classes_is_left_out_as_a_whole(self) -> None:
        other = {**HEAD, "head_logits/kernel": (1280, 49), "head_logits/bias": (49,)}
        assignment = assign(file_of({**TRUNK, **other}), B0, {**TRUNK, **HEAD})
        assert assignment.not_filled == tuple(HEAD)
        assert (
            "another size: [1280, 49], the network's is [1280, 10]"
            in assignment.left_out["file/head_logits/kernel"]
        )
        assert "not fit as a whole" in assignment.left_out["file/head_bn/gamma"]

    def test_head_is_not_needed(self) -> None:
        assert assign(file_of(TRUNK), B0, {**TRUNK, **HEAD}).not_filled == tuple(HEAD)
