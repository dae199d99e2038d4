"""The machines of Vertex AI that a training can ask for, by short names.

Types and TPU topologies as in Google's pages on compute for custom training and on TPU training.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launch.planning.prices import USD_PER_HOUR
from tfrecords_builder.errors import UserError

FLEX_START_GPUS = ("NVIDIA_L4", "NVIDIA_TESLA_A100", "NVIDIA_H100_80GB")
"""What Dynamic Workload Scheduler lends of those below, by Google's page on it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """One kind of machine; a job has `count` of them."""

    machine_type: str
    strategy: str
    """Of `trainer.task` on one such machine."""
    gpu_type: str | None = None
    num_gpus: int = 0
    tpu_topology: str | None = None
    num_hosts: int = 1
    """Of a TPU slice; more than one cannot be a spot job."""
    priced_as: tuple[int, str] | None = None
    """So many of an machine of `launch.planning.prices`; None where that has no price."""

    @property
    def usd_per_hour(self) -> float | None:
        """List price on demand; None where it is not known."""
        if self.priced_as is None:
            return None
        count, accelerator = self.priced_as
        return count * USD_PER_HOUR[accelerator]

    @property
    def num_devices(self) -> int:
        """GPUs, or cores of the TPU slice."""
        sides = self.tpu_topology.split("x") if self.tpu_topology else []
        return math.prod(map(int, sides)) if sides else self.num_gpus

    @property
    def is_tpu(self) -> bool:
        """Whether it has TPU chips."""
        return self.tpu_topology is not None


MACHINES = {
    "cpu": Machine(machine_type="n2-standard-16", strategy="cpu"),
    "t4": Machine(
        machine_type="n1-standard-8",
        strategy="gpu",
        gpu_type="NVIDIA_TESLA_T4",
        num_gpus=1,
        priced_as=(1, "t4"),
    ),
    "t4x2": Machine(
        machine_type="n1-standard-16",
        strategy="mirrored",
        gpu_type="NVIDIA_TESLA_T4",
        num_gpus=2,
        priced_as=(1, "t4x2"),
    ),
    "l4": Machine(
        machine_type="g2-standard-12",
        strategy="gpu",
        gpu_type="NVIDIA_L4",
        num_gpus=1,
        priced_as=(1, "l4"),
    ),
    "l4x4": Machine(
        machine_type="g2-standard-48", strategy="mirrored", gpu_type="NVIDIA_L4", num_gpus=4
    ),
    "a100": Machine(
        machine_type="a2-highgpu-1g",
        strategy="gpu",
        gpu_type="NVIDIA_TESLA_A100",
        num_gpus=1,
        priced_as=(1, "a100"),
    ),
    "a100x8": Machine(
        machine_type="a2-highgpu-8g",
        strategy="mirrored",
        gpu_type="NVIDIA_TESLA_A100",
        num_gpus=8,
        priced_as=(8, "a100"),
    ),
    "h100x8": Machine(
        machine_type="a3-highgpu-8g",
        strategy="mirrored",
        gpu_type="NVIDIA_H100_80GB",
        num_gpus=8,
        priced_as=(8, "h100"),
    ),
    "v5e-1": Machine(
        machine_type="ct5lp-hightpu-1t", strategy="tpu", tpu_topology="1x1", priced_as=(1, "v5e-1")
    ),
    "v5e-4": Machine(
        machine_type="ct5lp-hightpu-4t", strategy="tpu", tpu_topology="2x2", priced_as=(1, "v5e-4")
    ),
    "v5e-8": Machine(
        machine_type="ct5lp-hightpu-8t", strategy="tpu", tpu_topology="2x4", priced_as=(1, "v5e-8")
    ),
    "v5e-16": Machine(
        machine_type="ct5lp-hightpu-4t",
        strategy="tpu",
        tpu_topology="4x4",
        num_hosts=4,
        priced_as=(1, "v5e-16"),
    ),
    "v5e-32": Machine(
        machine_type="ct5lp-hightpu-4t",
        strategy="tpu",
        tpu_topology="4x8",
        num_hosts=8,
        priced_as=(2, "v5e-16"),
    ),
}


def machine_of(name: str) -> Machine:
    """The machine of a short name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in MACHINES:
        raise UserError(f"--accelerator={name!r} is not known; need one of {', '.join(MACHINES)}")
    return MACHINES[name]


def machine_like(spec: Mapping[str, Any]) -> Machine | None:
    """The machine that a `machineSpec` of the service describes; None if it is none of ours."""
    for machine in MACHINES.values():
        if (
            spec.get("machineType") == machine.machine_type
            and spec.get("acceleratorType") == machine.gpu_type
            and spec.get("tpuTopology") == machine.tpu_topology
            and int(spec.get("acceleratorCount", 0)) == machine.num_gpus
        ):
            return machine
    return None
