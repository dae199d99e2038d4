"""The computed trunks against the networks that Keras builds."""

import math

import pytest

from trainer.weights import WeightsError
from trainer.weights.backbones import (
    BACKBONES,
    blocks,
    canonical_backbone,
    closest_backbone,
    trunk_shapes,
)

# The others are as exact, but take Keras up to 15 s each to build.
QUICK = ("EfficientNetB0", "EfficientNetV2B3")


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES],
)
def test_names_shapes_and_order_are_those_of_keras(name) -> None:
    keras = pytest.importorskip("keras")
    model = getattr(keras.applications, name)(include_top=False, weights=None)
    of_keras = {
        f"{layer.name}/{variable.name}": tuple(variable.shape)
        for layer in model.layers
        for variable in layer.variables
        if not layer.name.startswith("normalization") and variable.name != "seed_generator_state"
    }
    assert list(trunk_shapes(name).items()) == list(of_keras.items())


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("EfficientNetB0", 4.05),
        ("EfficientNetB5", 28.51),
        ("EfficientNetB7", 64.10),
        ("EfficientNetV2L", 117.75),
    ],
)
def test_number_of_parameters_is_the_published_one(name, millions) -> None:
    total = sum(math.prod(shape) for shape in trunk_shapes(name).values())
    assert total / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize(
    ("name", "count"),
    [(f"EfficientNetB{n}", c) for n, c in enumerate((16, 23, 23, 26, 32, 39, 45, 55))],
)
def test_number_of_blocks_is_the_published_one(name, count) -> None:
    assert len(blocks(name)) == count


@pytest.mark.parametrize("name", BACKBONES)
def test_every_trunk_is_told_from_all_others(name) -> None:
    assert closest_backbone(trunk_shapes(name)) == (name, 1.0)


def test_half_a_trunk_is_still_recognised() -> None:
    shapes = dict(list(trunk_shapes("EfficientNetB4").items())[:300])
    name, share = closest_backbone(shapes)
    assert name == "EfficientNetB4"
    assert share == pytest.approx(300 / 608)


def test_nothing_known_is_close_to_nothing() -> None:
    assert closest_backbone({"dense/kernel": (10, 10)}) is None


@pytest.mark.parametrize(
    "spelling", ["efficientnet-b5", "EfficientNetB5", "efficientnetb5", "EfficientNet_B5"]
)
def test_usual_spellings_are_understood(spelling) -> None:
    assert canonical_backbone(spelling) == "EfficientNetB5"


def test_unknown_backbone_lists_the_known_ones() -> None:
    with pytest.raises(
        WeightsError, match="no backbone is called 'resnet50'; known are EfficientNetB0"
    ):
        canonical_backbone("resnet50")
