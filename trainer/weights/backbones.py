"""Names and shapes of every trunk, computed from the block tables of the two papers.

No network is built: knowing what a B7 looks like takes a millisecond. Used to tell which variant
a file holds, to convert without a model, and to number the blocks of TensorFlow checkpoints.

Sources: Tan and Le, "EfficientNet" (2019), table 1 and the compound coefficients of B0 to B7;
Tan and Le, "EfficientNetV2" (2021), table 4. Layer names are those of `keras.applications`.
"""

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trainer.weights.tensors import Shape, WeightsError


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A run of equal blocks; only its first one changes the number of channels."""

    kernel: int
    repeats: int
    expand: int
    channels_in: int
    channels_out: int
    fused: bool = False
    """One ordinary convolution instead of expansion and depthwise convolution, and no
    squeeze-and-excite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One block, with its channels after scaling."""

    name: str
    """`block4c`: third block of the fourth stage."""
    kernel: int
    expand: int
    channels_in: int
    channels_out: int
    fused: bool


def _stages(*rows: tuple[int, int, int, int, int, bool]) -> tuple[Stage, ...]:
    return tuple(
        Stage(kernel=k, repeats=r, expand=e, channels_in=i, channels_out=o, fused=f)
        for k, r, e, i, o, f in rows
    )


# kernel, repeats, expand, channels in, channels out, fused
_V1 = _stages(
    (3, 1, 1, 32, 16, False),
    (3, 2, 6, 16, 24, False),
    (5, 2, 6, 24, 40, False),
    (3, 3, 6, 40, 80, False),
    (5, 3, 6, 80, 112, False),
    (5, 4, 6, 112, 192, False),
    (3, 1, 6, 192, 320, False),
)
_V2_BASE = _stages(
    (3, 1, 1, 32, 16, True),
    (3, 2, 4, 16, 32, True),
    (3, 2, 4, 32, 48, True),
    (3, 3, 4, 48, 96, False),
    (3, 5, 6, 96, 112, False),
    (3, 8, 6, 112, 192, False),
)
_V2_SMALL = _stages(
    (3, 2, 1, 24, 24, True),
    (3, 4, 4, 24, 48, True),
    (3, 4, 4, 48, 64, True),
    (3, 6, 4, 64, 128, False),
    (3, 9, 6, 128, 160, False),
    (3, 15, 6, 160, 256, False),
)
_V2_MEDIUM = _stages(
    (3, 3, 1, 24, 24, True),
    (3, 5, 4, 24, 48, True),
    (3, 5, 4, 48, 80, True),
    (3, 7, 4, 80, 160, False),
    (3, 14, 6, 160, 176, False),
    (3, 18, 6, 176, 304, False),
    (3, 5, 6, 304, 512, False),
)
_V2_LARGE = _stages(
    (3, 4, 1, 32, 32, True),
    (3, 7, 4, 32, 64, True),
    (3, 7, 4, 64, 96, True),
    (3, 10, 4, 96, 192, False),
    (3, 19, 6, 192, 224, False),
    (3, 25, 6, 224, 384, False),
    (3, 7, 6, 384, 640, False),
)

# Name in `keras.applications` -> block table, width and depth coefficients.
BACKBONES: Mapping[str, tuple[tuple[Stage, ...], float, float]] = {
    "EfficientNetB0": (_V1, 1.0, 1.0),
    "EfficientNetB1": (_V1, 1.0, 1.1),
    "EfficientNetB2": (_V1, 1.1, 1.2),
    "EfficientNetB3": (_V1, 1.2, 1.4),
    "EfficientNetB4": (_V1, 1.4, 1.8),
    "EfficientNetB5": (_V1, 1.6, 2.2),
    "EfficientNetB6": (_V1, 1.8, 2.6),
    "EfficientNetB7": (_V1, 2.0, 3.1),
    "EfficientNetV2B0": (_V2_BASE, 1.0, 1.0),
    "EfficientNetV2B1": (_V2_BASE, 1.0, 1.1),
    "EfficientNetV2B2": (_V2_BASE, 1.1, 1.2),
    "EfficientNetV2B3": (_V2_BASE, 1.2, 1.4),
    "EfficientNetV2S": (_V2_SMALL, 1.0, 1.0),
    "EfficientNetV2M": (_V2_MEDIUM, 1.0, 1.0),
    "EfficientNetV2L": (_V2_LARGE, 1.0, 1.0),
}


def canonical_backbone(name: str) -> str:
    """The name in `keras.applications` of a backbone written in any of the usual ways.

    `efficientnet-b5`, `EfficientNetB5`, `efficientnetv2-s` and `EfficientNetV2S` are understood.

    Raises:
        WeightsError: there is no such backbone.
    """
    wanted = name.lower().replace("-", "").replace("_", "")
    for known in BACKBONES:
        if known.lower() == wanted:
            return known
    raise WeightsError(f"no backbone is called {name!r}; known are {', '.join(BACKBONES)}")


def is_v1(backbone: str) -> bool:
    """Whether a backbone is of the first family (B0 to B7)."""
    return BACKBONES[canonical_backbone(backbone)][0] is _V1


def blocks(backbone: str) -> tuple[Block, ...]:
    """All blocks of a trunk in the order in which an image passes them."""
    stages, width, depth = BACKBONES[canonical_backbone(backbone)]
    v1 = is_v1(backbone)
    result = []
    for number, stage in enumerate(stages, start=1):
        channels_out = _scale_channels(stage.channels_out, width, v1=v1)
        for repeat in range(math.ceil(depth * stage.repeats)):
            channels_in = channels_out
            if repeat == 0:
                channels_in = _scale_channels(stage.channels_in, width, v1=v1)
            result.append(
                Block(
                    name=f"block{number}{chr(ord('a') + repeat)}",
                    kernel=stage.kernel,
                    expand=stage.expand,
                    channels_in=channels_in,
                    channels_out=channels_out,
                    fused=stage.fused,
                )
            )
    return tuple(result)


@functools.cache
def trunk_shapes(backbone: str) -> Mapping[str, Shape]:
    """Every variable of a trunk, `<layer>/<variable>` -> shape, in the order of the layers.

    Shapes are those of Keras, channels last: convolution [h, w, in, out], depthwise convolution
    [h, w, channels, 1].

    Raises:
        WeightsError: there is no such backbone.
    """
    stages, width, _ = BACKBONES[canonical_backbone(backbone)]
    v1 = is_v1(backbone)
    stem = _scale_channels(stages[0].channels_in, width, v1=v1)
    top = _scale_channels(1280, width, v1=v1)
    all_blocks = blocks(backbone)
    depthwise = "dwconv" if v1 else "dwconv2"
    shapes: dict[str, Shape] = {"stem_conv/kernel": (3, 3, 3, stem)}
    shapes.update(_batch_norm("stem_bn", stem))
    for block in all_blocks:
        shapes.update(_block_shapes(block, depthwise))
    shapes["top_conv/kernel"] = (1, 1, all_blocks[-1].channels_out, top)
    shapes.update(_batch_norm("top_bn", top))
    return shapes


def _block_shapes(block: Block, depthwise: str) -> Iterator[tuple[str, Shape]]:
    name, k = block.name, block.kernel
    wide = block.channels_in * block.expand
    project_kernel = 1
    if block.expand != 1:
        expand_kernel = k if block.fused else 1
        yield f"{name}_expand_conv/kernel", (expand_kernel, expand_kernel, block.channels_in, wide)
        yield from _batch_norm(f"{name}_expand_bn", wide)
    elif block.fused:
        project_kernel = k
    if not block.fused:
        reduced = max(1, block.channels_in // 4)
        yield f"{name}_{depthwise}/kernel", (k, k, wide, 1)
        yield from _batch_norm(f"{name}_bn", wide)
        yield f"{name}_se_reduce/kernel", (1, 1, wide, reduced)
        yield f"{name}_se_reduce/bias", (reduced,)
        yield f"{name}_se_expand/kernel", (1, 1, reduced, wide)
        yield f"{name}_se_expand/bias", (wide,)
    yield (
        f"{name}_project_conv/kernel",
        (project_kernel, project_kernel, wide, block.channels_out),
    )
    yield from _batch_norm(f"{name}_project_bn", block.channels_out)


def _batch_norm(layer: str, channels: int) -> Iterator[tuple[str, Shape]]:
    for variable in ("gamma", "beta", "moving_mean", "moving_variance"):
        yield f"{layer}/{variable}", (channels,)


def _scale_channels(channels: int, width: float, *, v1: bool) -> int:
    """Scaled and rounded to a multiple of 8; the first family never rounds down by over a tenth.

    The second family has no such rule: block1 of V2-B3 keeps 16 channels of 16 * 1.2 = 19.2.
    """
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if v1 and rounded < 0.9 * scaled else rounded


def closest_backbone(shapes: Mapping[str, Shape]) -> tuple[str, float] | None:
    """The backbone whose trunk shares most variables with `shapes`, and the share in (0, 1].

    The share counts variables of equal name and shape over all names of either side; 1 means
    that the trunk is exactly this backbone's. None where nothing is shared.
    """
    best: tuple[str, float] | None = None
    for backbone in BACKBONES:
        known = trunk_shapes(backbone)
        shared = sum(known.get(key) == shape for key, shape in shapes.items())
        share = shared / len(known.keys() | shapes.keys())
        if shared and (best is None or share > best[1]):
            best = (backbone, share)
    return best
