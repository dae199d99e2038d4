"""The machines that recipes are planned for: how many replicas, how fast, how much memory."""

from dataclasses import dataclass
from typing import Any

from trainer.errors import DeviceError
from trainer.overrides import nearest

CPU_CORE_TFLOPS = 0.098
"""In float32 convolutions, from the ledger of a run of cars_small on 2 cores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """Devices that train together; every number is of one replica, from the makers' data sheets."""

    name: str
    kind: str
    """cpu | gpu | tpu"""
    num_replicas: int
    memory_gib: float
    """What a program may use."""
    peak_tflops: float
    """Of 16-bit matrix products, on GPUs four times that of float32; 0 for the CPU, whose number
    of cores decides."""
    gb_per_sec: float
    """Bandwidth of the device's memory."""


_T4: dict[str, Any] = {"memory_gib": 14.6, "peak_tflops": 65.0, "gb_per_sec": 300.0}
_L4: dict[str, Any] = {"memory_gib": 22.0, "peak_tflops": 121.0, "gb_per_sec": 300.0}
_A100: dict[str, Any] = {"memory_gib": 39.0, "peak_tflops": 312.0, "gb_per_sec": 1555.0}
_H100: dict[str, Any] = {"memory_gib": 78.0, "peak_tflops": 989.0, "gb_per_sec": 3350.0}
_V3: dict[str, Any] = {"memory_gib": 15.48, "peak_tflops": 61.5, "gb_per_sec": 450.0}
_V5E: dict[str, Any] = {"memory_gib": 15.75, "peak_tflops": 197.0, "gb_per_sec": 819.0}
_CPU: dict[str, Any] = {"memory_gib": 16.0, "peak_tflops": 0.0, "gb_per_sec": 20.0}

ACCELERATORS = {
    accelerator.name: accelerator
    for accelerator in (
        Accelerator(name="cpu", kind="cpu", num_replicas=1, **_CPU),
        Accelerator(name="t4", kind="gpu", num_replicas=1, **_T4),
        Accelerator(name="t4x2", kind="gpu", num_replicas=2, **_T4),
        Accelerator(name="l4", kind="gpu", num_replicas=1, **_L4),
        Accelerator(name="a100", kind="gpu", num_replicas=1, **_A100),
        Accelerator(name="h100", kind="gpu", num_replicas=1, **_H100),
        Accelerator(name="v3-8", kind="tpu", num_replicas=8, **_V3),
        Accelerator(name="v3-32", kind="tpu", num_replicas=32, **_V3),
        Accelerator(name="v5e-1", kind="tpu", num_replicas=1, **_V5E),
        Accelerator(name="v5e-4", kind="tpu", num_replicas=4, **_V5E),
        Accelerator(name="v5e-8", kind="tpu", num_replicas=8, **_V5E),
        Accelerator(name="v5e-16", kind="tpu", num_replicas=16, **_V5E),
    )
}


def load_accelerator(name: str) -> Accelerator:
    """The accelerator of that name.

    Raises:
        DeviceError: there is none in the table; the nearest is named.
    """
    if name not in ACCELERATORS:
        raise DeviceError(f"--accelerator={name} is not known; {nearest(name, ACCELERATORS)}")
    return ACCELERATORS[name]
