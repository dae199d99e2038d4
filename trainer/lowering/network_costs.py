"""Counts what each block of each backbone costs, for the planner, which must not load TensorFlow.

    python -m trainer.lowering.network_costs --out=launch/planning/networks.json

Run it again when a backbone is added; a test compares the file with a fresh count.
"""

import json
from typing import Any

from absl import flags

from tfrecords_builder import command_line

FLAGS = flags.FLAGS
REFERENCE_PX = 224
_WRITES = ("Conv2D", "DepthwiseConv2D", "Activation", "Multiply", "Add")


def count_blocks(backbone: str, image_px: int = REFERENCE_PX) -> list[list[Any]]:
    """Rows [block, parameters, multiply-adds, activations] of one photo, in forward order.

    Activations are the numbers that convolutions, activations, products and sums write.
    """
    from trainer.network.backbones import make_trunk
    from trainer.network.build import block_of

    rows: dict[str, list[Any]] = {}
    for layer in make_trunk(backbone, image_px).layers:
        block = block_of(layer.name)
        if block is None:
            continue
        row = rows.setdefault(block, [block, 0, 0, 0])
        row[1] += layer.count_params()
        row[2] += _multiply_adds(layer)
        if type(layer).__name__ in _WRITES:
            row[3] += _num_elements(layer.output.shape[1:])
    return list(rows.values())


def _multiply_adds(layer: Any) -> int:
    kind = type(layer).__name__
    if kind not in ("Conv2D", "DepthwiseConv2D"):
        return 0
    pixels = _num_elements(layer.output.shape[1:3])
    return pixels * _num_elements(layer.kernel.shape)


def _num_elements(shape: Any) -> int:
    product = 1
    for size in shape:
        product *= int(size)
    return product


def main() -> None:
    """Counts all backbones and writes the file."""
    from trainer.network.backbones import BACKBONES
    from trainer.tensorflow_start import require_tensorflow

    require_tensorflow()
    lines = [f'  "{name}": {json.dumps(count_blocks(name))}' for name in BACKBONES]
    with open(FLAGS.out, "w") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "File to write.", required=True)
    command_line.run(main)
