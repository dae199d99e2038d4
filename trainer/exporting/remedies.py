"""Ways to quantize a network to int8, tried in their order until the proof holds.

Operations whose results do not bear eight bits are left in float.
"""

from dataclasses import dataclass


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
    """So many of the layers that lose most stay float32."""


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
