"""The backbones by name, and how each wants its pixels scaled.

Keras' own preprocessing layers are cut off: the graph of `keras.applications.EfficientNetB*`
depends on how its weights were given (only `weights="imagenet"` adds a second Rescaling), so the
same file loaded in another way gives another function. Here every backbone starts behind one
`keras.layers.Rescaling` of ours, whatever the origin of its weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer.errors import RecipeError
from trainer.overrides import nearest
from trainer.recipe import TRAIN_ALL, TRAIN_HEAD, Recipe, Stage
from trainer.weights.backbones import blocks

if TYPE_CHECKING:
    import keras

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """Pixels 0..255 to what the network was trained on: x * scale + offset, per RGB channel."""

    scale: tuple[float, float, float]
    offset: tuple[float, float, float]


MEAN_AND_STD = Scaling(
    scale=tuple(1 / (255 * std) for std in IMAGENET_STD),  # type: ignore[arg-type]
    offset=tuple(-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)),  # type: ignore[arg-type]
)
"""(x / 255 - mean) / std: EfficientNet B0 to B7, V2 B0 to B3 and `Tiny`."""
MINUS_ONE_TO_ONE = Scaling(scale=(1 / 128,) * 3, offset=(-1.0,) * 3)
"""x / 128 - 1: EfficientNetV2 S, M and L."""

_VERSION_1 = tuple(f"EfficientNetB{number}" for number in range(8))
_VERSION_2_SMALL = tuple(f"EfficientNetV2B{number}" for number in range(4))
_VERSION_2_LARGE = tuple(f"EfficientNetV2{letter}" for letter in "SML")
TINY = "Tiny"
BACKBONES = (*_VERSION_1, *_VERSION_2_SMALL, *_VERSION_2_LARGE, TINY)
STEM = "stem"
TOP = "top"
HEAD = "head"
_TINY_BLOCKS = ((1, 24), (2, 48), (3, 96), (4, 128))
"""Number and channels of pairs of blocks, a and b."""


def check_backbone(name: str) -> None:
    """Raises RecipeError, naming the nearest one, if there is no such backbone."""
    if name not in BACKBONES:
        raise RecipeError(f"backbone {name!r} is not known; {nearest(name, BACKBONES)}")


def check_network(recipe: Recipe) -> None:
    """Raises RecipeError if there is no such backbone, or no such block in it; builds nothing."""
    check_backbone(recipe.backbone)
    names = block_names(recipe.backbone)
    for stage in recipe.stages:
        border_block(names, stage)


def block_names(backbone: str) -> tuple[str, ...]:
    """All blocks in forward order: stem, block1a, ..., top, head."""
    if backbone == TINY:
        inner = [f"block{number}{letter}" for number, _ in _TINY_BLOCKS for letter in "ab"]
    else:
        inner = [block.name for block in blocks(backbone)]
    return (STEM, *inner, TOP, HEAD)


def border_block(names: Sequence[str], stage: Stage) -> str:
    """The first of these blocks that a stage trains."""
    wanted = {TRAIN_ALL: STEM, TRAIN_HEAD: HEAD}.get(stage.train_from, stage.train_from)
    if wanted not in names:
        raise RecipeError(
            f"stage {stage.name!r}: train_from={wanted!r} is not a block of this backbone; "
            f"{nearest(wanted, (TRAIN_HEAD, TRAIN_ALL, *names))}"
        )
    return wanted


def scaling_of(name: str) -> Scaling:
    """The scaling of a backbone's input."""
    return MINUS_ONE_TO_ONE if name in _VERSION_2_LARGE else MEAN_AND_STD


def make_trunk(name: str, image_px: int) -> "keras.Model":
    """The backbone of `keras.applications` to its last feature map, randomly initialised.

    The layers in front of the stem, where there are any, are Keras' own preprocessing.

    Its Dropout layers only mark the places of stochastic depth; `drop_connect_rates` has the rates.
    It is built for one image size: the padding of the strided convolutions of the first
    EfficientNet depends on whether a feature map is even, which it is not everywhere (456 px).
    """
    import keras

    check_backbone(name)
    shape = (image_px, image_px, 3)
    if name == TINY:
        return _make_tiny(shape)
    make: Any = getattr(keras.applications, name)
    return make(include_top=False, weights=None, input_shape=shape)


def drop_connect_rates(block_names: Sequence[str], rate: float) -> dict[str, float]:
    """Stochastic depth per block: rises linearly from 0 at the first to below `rate` at the last.

    Huang et al. 2016, Deep networks with stochastic depth; spacing as in EfficientNet.
    """
    return {name: rate * index / len(block_names) for index, name in enumerate(block_names)}


def _make_tiny(shape: tuple[int, int, int]) -> "keras.Model":
    """A small residual network with EfficientNet's names that trains from nothing in minutes."""
    import keras
    from keras import layers

    def convolution(
        x: Any, filters: int, name: str, size: int = 3, strides: int = 1, active: bool = True
    ) -> Any:
        x = layers.Conv2D(
            filters,
            size,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"{name}_conv",
        )(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
        return layers.Activation("swish", name=f"{name}_activation")(x) if active else x

    pixels = keras.Input(shape)
    x = convolution(pixels, 16, "stem", strides=2)
    for number, filters in _TINY_BLOCKS:
        x = convolution(x, filters, f"block{number}a_project", strides=2 if number > 1 else 1)
        shortcut = x
        x = convolution(x, filters, f"block{number}b_expand")
        x = convolution(x, filters, f"block{number}b_project", active=False)
        x = layers.Dropout(0.1, noise_shape=(None, 1, 1, 1), name=f"block{number}b_drop")(x)
        x = layers.Add(name=f"block{number}b_add")([x, shortcut])
    x = convolution(x, 256, "top", size=1)
    return keras.Model(pixels, x, name="tiny")
