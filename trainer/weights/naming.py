"""From the names and orders that files use to the keys of the network."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from trainer.weights.tensors import Shape, StoredTensor

# Input preprocessing is a fixed layer of the network itself, the same whatever the weights' origin.
_PREPROCESSING = re.compile(r"(normalization|rescaling)(_\d+)?")

OPTIMIZER = "state of an optimizer"


def tensor_key(layer: str, variable: str) -> str:
    """`<layer>/<variable>` as Keras 3 names it.

    Keras 2 wrote `kernel:0`, and called the kernel of a depthwise convolution `depthwise_kernel`.
    """
    variable = variable.partition(":")[0]
    return f"{layer}/{'kernel' if variable == 'depthwise_kernel' else variable}"


def reason_to_leave_out(key: str) -> str:
    """Why a tensor of a model is no weight of the network; empty if it may be one."""
    layer, _, variable = key.rpartition("/")
    container, _, own_name = layer.rpartition("/")
    if container == "metrics":
        return "state of a metric"
    if _PREPROCESSING.fullmatch(own_name):
        return "input scaling of the file; the network has its own, fixed one"
    if variable.startswith("seed_generator_state"):
        return "state of a random generator"
    return ""


def layer_kind(layer: str, variables: Iterable[str]) -> str:
    """`norm`, `depthwise` or `conv`: the kinds of layers with weights that a trunk is made of."""
    if "gamma" in set(variables):
        return "norm"
    return "depthwise" if "dwconv" in layer else "conv"


def trunk_order(shapes: Mapping[str, Shape]) -> list[tuple[str, str]]:
    """(kind, layer) of the layers of a trunk, in the order of its variables."""
    layers: dict[str, list[str]] = defaultdict(list)
    for key in shapes:
        layer, _, variable = key.rpartition("/")
        layers[layer].append(variable)
    return [(layer_kind(layer, variables), layer) for layer, variables in layers.items()]


def name_by_order(
    tensors: Sequence[StoredTensor], order: Sequence[tuple[str, str]]
) -> tuple[StoredTensor, ...]:
    """Names the layers of a file that numbers them by kind.

    Keras 2.12 to 3.2 wrote `layers/conv2d_7/vars/0`: the eighth Conv2D of the model, whatever its
    name. The n-th layer of a kind gets the n-th name of that kind. Keys of the input are
    `<container>/<class>_<number>/<variable>`; only the container with most layers is renamed, so
    that a trunk nested in a model is found. Shapes are not looked at here.
    """
    by_container: dict[str, set[str]] = defaultdict(set)
    for tensor in tensors:
        if not tensor.left_out:
            by_container[tensor.layer.rpartition("/")[0]].add(tensor.layer)
    if not by_container:
        return tuple(tensors)
    container = max(by_container, key=lambda name: len(by_container[name]))
    queues: dict[str, list[str]] = defaultdict(list)
    for kind, layer in order:
        queues[kind].append(layer)
    new_names: dict[str, str] = {}
    for kind, base in (
        ("conv", "conv2d"),
        ("depthwise", "depthwise_conv2d"),
        ("norm", "batch_normalization"),
    ):
        numbered = sorted(
            (int(match.group(1) or 0), layer)
            for layer in by_container[container]
            if (match := re.fullmatch(rf"{base}(?:_(\d+))?", layer.rpartition("/")[2]))
        )
        for (_, layer), name in zip(numbered, queues[kind], strict=False):
            new_names[layer] = name
    return tuple(
        replace(tensor, key=f"{new_names[tensor.layer]}/{tensor.key.rpartition('/')[2]}")
        if not tensor.left_out and tensor.layer in new_names
        else tensor
        for tensor in tensors
    )
