"""The variables of the authors' TensorFlow 1 code, found by walking it as it runs.

Derived from the published architecture alone, not from the code under test: layers are numbered by
kind in the scope where they are first called, as `tf.layers` did.
"""

import math
from collections import Counter
from pathlib import Path

import numpy as np

# Table 1 of the paper: kernel, repeats, stride, expansion, channels in and out.
STAGES = (
    (3, 1, 1, 1, 32, 16),
    (3, 2, 2, 6, 16, 24),
    (5, 2, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (5, 3, 1, 6, 80, 112),
    (5, 4, 2, 6, 112, 192),
    (3, 1, 1, 6, 192, 320),
)
# Width and depth coefficient of B0 to B7.
SCALES = ((1, 1), (1, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2, 3.1))
Shapes = dict[str, tuple[int, ...]]


def round_filters(filters: int, width: float) -> int:
    wanted = filters * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


class Scope:
    """A variable scope that numbers the layers called in it."""

    def __init__(self, name: str, shapes: Shapes):
        self.name = name
        self.shapes = shapes
        self.called: Counter[str] = Counter()

    def _layer(self, kind: str) -> str:
        number = self.called[kind]
        self.called[kind] += 1
        return f"{self.name}/{kind}_{number}" if number else f"{self.name}/{kind}"

    def conv(self, kernel: int, channels_in: int, channels_out: int, bias: bool = False) -> None:
        layer = self._layer("conv2d")
        self.shapes[f"{layer}/kernel"] = (kernel, kernel, channels_in, channels_out)
        if bias:
            self.shapes[f"{layer}/bias"] = (channels_out,)

    def depthwise(self, kernel: int, channels: int) -> None:
        layer = self._layer("depthwise_conv2d")
        self.shapes[f"{layer}/depthwise_kernel"] = (kernel, kernel, channels, 1)

    def norm(self, channels: int) -> None:
        layer = self._layer("tpu_batch_normalization")
        for variable in ("gamma", "beta", "moving_mean", "moving_variance"):
            self.shapes[f"{layer}/{variable}"] = (channels,)


def variable_shapes(number: int) -> Shapes:
    """Name -> shape of every weight of EfficientNet B`number`."""
    width, depth = SCALES[number]
    model = f"efficientnet-b{number}"
    shapes: Shapes = {}
    stem = Scope(f"{model}/stem", shapes)
    channels = round_filters(32, width)
    stem.conv(3, 3, channels)
    stem.norm(channels)
    block = 0
    for kernel, repeats, _, expand, _, filters in STAGES:
        for _ in range(math.ceil(repeats * depth)):
            scope = Scope(f"{model}/blocks_{block}", shapes)
            wide = channels * expand
            if expand != 1:
                scope.conv(1, channels, wide)
                scope.norm(wide)
            scope.depthwise(kernel, wide)
            scope.norm(wide)
            squeeze = Scope(f"{scope.name}/se", shapes)
            reduced = max(1, int(channels * 0.25))
            squeeze.conv(1, wide, reduced, bias=True)
            squeeze.conv(1, reduced, wide, bias=True)
            channels = round_filters(filters, width)
            scope.conv(1, wide, channels)
            scope.norm(channels)
            block += 1
    head = Scope(f"{model}/head", shapes)
    top = round_filters(1280, width)
    head.conv(1, channels, top)
    head.norm(top)
    shapes[f"{model}/head/dense/kernel"] = (top, 1000)
    shapes[f"{model}/head/dense/bias"] = (1000,)
    return shapes


def write_checkpoint(prefix: Path, tensors: dict[str, np.ndarray]) -> Path:
    """Writes `<prefix>.index` and `.data-...` as `tf.compat.v1.train.Saver` does."""
    import tensorflow as tf

    prefix.parent.mkdir(parents=True, exist_ok=True)
    part = f"{prefix}_part"
    names = sorted(tensors)
    tf.raw_ops.SaveV2(
        prefix=part,
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tensors[name] for name in names],
    )
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=[part], destination_prefix=str(prefix))
    return prefix


def with_training_state(average: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a training of that code saved: raw values, their averages, RMSProp's slots, the step."""
    state: dict[str, np.ndarray] = {"global_step": np.int64(109_375)}
    for name, values in average.items():
        state[name] = values + 1
        state[f"{name}/ExponentialMovingAverage"] = values
        if "/moving_" not in name:
            state[f"{name}/RMSProp"] = np.zeros_like(values)
            state[f"{name}/RMSProp_1"] = np.zeros_like(values)
    return state
