"""Ways to quantize a network to int8, tried in their order until the proof holds.

Operations whose results do not bear eight bits are left in float.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.exporting.plain_network import PlainNetwork
from trainer.exporting.result_names import Result, view_layers


@dataclass(frozen=True, kw_only=True, slots=True)
class Remedy:
    """One way to quantize to int8."""

    name: str
    num_calibration: int
    """Photos that the ranges of the activations are taken from."""
    whole_ranges: bool = False
    """Ranges reach to the extremes of all photos, and not to the mean of each photo's own."""
    float_kinds: tuple[str, ...] = ()
    """LiteRT operations whose results stay float32."""
    float_ends: bool = False
    """Leave the pixels' scaling and everything behind the last feature map in float32."""
    num_float_layers: int = 0
    """So many of the layers that lose most stay float32, beside all of the above."""


_GATES = ("MUL", "LOGISTIC")
_POINTWISE = (*_GATES, "ADD")
REMEDIES = (
    Remedy(name="all of it in int8", num_calibration=60),
    Remedy(name="whole ranges", num_calibration=60, whole_ranges=True),
    Remedy(
        name="scaling, gates and head in float",
        num_calibration=60,
        float_kinds=_GATES,
        float_ends=True,
    ),
    Remedy(
        name="scaling, gates and head in float, whole ranges",
        num_calibration=60,
        whole_ranges=True,
        float_kinds=_GATES,
        float_ends=True,
    ),
    Remedy(
        name="scaling, gates, sums, head and the five layers that lose most in float",
        num_calibration=60,
        whole_ranges=True,
        float_kinds=_POINTWISE,
        float_ends=True,
        num_float_layers=5,
    ),
    Remedy(
        name="the same with twenty layers and more calibration photos",
        num_calibration=180,
        whole_ranges=True,
        float_kinds=_POINTWISE,
        float_ends=True,
        num_float_layers=20,
    ),
)


def plan_float_results(
    results: Sequence[Result], network: PlainNetwork, remedy: Remedy, worst_layers: Sequence[str]
) -> set[str]:
    """Names of the results that stay float32.

    Args:
        results: of a calibrated file, in the order they are computed.
        network: that the file computes once for each view.
        remedy: what to keep.
        worst_layers: those that lose most, the worst first.
    """
    kept = {result.name for result in results if result.kind in remedy.float_kinds}
    if remedy.float_ends:
        kept |= _ends(results, network)
    if not remedy.num_float_layers:
        return kept
    left: dict[str, set[str]] = {}
    for result in results:
        for _, layer in view_layers(result.name) if result.name not in kept else ():
            left.setdefault(layer, set()).add(result.name)
    # Less than all: the converter takes no file without anything to quantize.
    num_convolutions = len(_convolutions(network) & left.keys())
    num = min(remedy.num_float_layers, num_convolutions - 1)
    for layer in [layer for layer in worst_layers if layer in left][:num]:
        # Of all views: they share the layer's weights.
        kept |= left[layer]
    return kept


def _ends(results: Sequence[Result], network: PlainNetwork) -> set[str]:
    """Names of what each view computes in front of the network's first convolution and behind its
    last feature map: scaling, and evidence maps, pooling, logits, softmax."""
    convolutions, last = _convolutions(network), network.operations[-1].name
    ends: set[str] = set()
    inside: set[int] = set()
    """Results of the first convolutions, and all that is made of them."""
    features: set[int] = set()
    """Last feature maps, and all that is made of them."""
    for result in results:
        layers = {layer for _, layer in view_layers(result.name)}
        if features & result.inputs:
            features.add(result.tensor)
            ends.add(result.name)
        elif inside & result.inputs or convolutions & layers:
            inside.add(result.tensor)
            if last in layers:
                features.add(result.tensor)
        else:
            ends.add(result.name)
    return ends


def _convolutions(network: PlainNetwork) -> set[str]:
    kinds = ("conv", "depthwise")
    return {operation.name for operation in network.operations if operation.kind in kinds}
