"""The TPU slices that the compiler knows, by the names of the platforms that lend them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.errors import DeviceError
from trainer.overrides import nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class Topology:
    """A slice of TPU cores that train together, one replica a core as TensorFlow sees them."""

    name: str
    """As in `--accelerator`: v5e-8."""
    libtpu_name: str
    """As `jax.experimental.topologies` takes it: generation and chips a side."""
    num_replicas: int
    hbm_gib: float
    """What a program may use of a replica's memory, as libtpu itself names it when it refuses."""
    clock_ghz: float
    """Turns estimated cycles into seconds; the peak FLOPs over what the matrix units do a cycle."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Further arguments for `get_topology_desc`."""

    def seconds(self, cycles: float) -> float:
        """Time of so many of the compiler's cycles."""
        return cycles / (self.clock_ghz * 1e9)


# v5e: 197 TFLOP/s bfloat16 = 4 matrix units x 128 x 128 x 2 x 1.5 GHz; v3: 123 TFLOP/s a chip of
# two cores with two units each = 2 x 2 x 128 x 128 x 2 x 0.94 GHz
# (https://cloud.google.com/tpu/docs/system-architecture-tpu-vm).
_V5E: dict[str, Any] = {"hbm_gib": 15.75, "clock_ghz": 1.5}
_V3: dict[str, Any] = {"hbm_gib": 15.48, "clock_ghz": 0.94}

TOPOLOGIES = {
    topology.name: topology
    for topology in (
        Topology(name="v3-8", libtpu_name="v3:2x2", num_replicas=8, **_V3),
        Topology(name="v3-32", libtpu_name="v3:4x4", num_replicas=32, **_V3),
        Topology(
            name="v5e-1",
            libtpu_name="v5e:1x1",
            num_replicas=1,
            options={"chips_per_host_bounds": (1, 1, 1)},
            **_V5E,
        ),
        Topology(name="v5e-4", libtpu_name="v5e:2x2", num_replicas=4, **_V5E),
        Topology(
            name="v5e-8",
            libtpu_name="v5e:2x4",
            num_replicas=8,
            options={"chips_per_host_bounds": (2, 4, 1)},
            **_V5E,
        ),
        Topology(name="v5e-16", libtpu_name="v5e:4x4", num_replicas=16, **_V5E),
    )
}


def load_topology(name: str) -> Topology:
    """The topology of that name.

    Raises:
        DeviceError: the compiler has none; the nearest is named.
    """
    if name not in TOPOLOGIES:
        raise DeviceError(f"no TPU topology {name!r}; {nearest(name, TOPOLOGIES)}")
    return TOPOLOGIES[name]
