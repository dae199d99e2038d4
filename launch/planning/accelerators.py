"""What can be rented, how fast it is and what it costs."""

from dataclasses import dataclass
from typing import Any

from trainer.errors import DeviceError
from trainer.overrides import nearest

PRICES_FROM = (
    "about the list prices of Google Cloud, us-central1, on demand, October 2025; not confirmed"
)
PRICES_SOURCE = "https://cloud.google.com/products/calculator"
KAGGLE_GPU_HOURS = 30.0
"""A week; https://www.kaggle.com/docs/notebooks."""
KAGGLE_TPU_HOURS = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """Devices that train together; every number but the price is of one replica."""

    name: str
    kind: str
    """cpu | gpu | tpu"""
    num_replicas: int
    memory_gib: float
    """What a program may use."""
    peak_tflops: float
    """Of 16-bit matrix products; float32 on the CPU and, at a quarter, on GPUs."""
    gb_per_sec: float
    """Bandwidth of the device's memory, from the makers' data sheets."""
    usd_per_hour: float
    """The whole machine; 0 where there is nothing to pay."""
    kaggle_hours: float | None = None
    """Quota a week on Kaggle; None where Kaggle has none of it."""


# A CPU core: 98 GFLOP/s in float32 convolutions, from the ledger of a run of cars_small on 2 cores.
CPU_CORE_TFLOPS = 0.098
_T4: dict[str, Any] = {"memory_gib": 14.6, "peak_tflops": 65.0, "gb_per_sec": 300.0}
_V5E: dict[str, Any] = {"memory_gib": 15.75, "peak_tflops": 197.0, "gb_per_sec": 819.0}
_V3: dict[str, Any] = {"memory_gib": 15.48, "peak_tflops": 61.5, "gb_per_sec": 450.0}

ACCELERATORS = {
    accelerator.name: accelerator
    for accelerator in (
        Accelerator(
            name="cpu",
            kind="cpu",
            num_replicas=1,
            memory_gib=16.0,
            peak_tflops=0.0,
            gb_per_sec=20.0,
            usd_per_hour=0.0,
        ),
        Accelerator(
            name="t4",
            kind="gpu",
            num_replicas=1,
            usd_per_hour=0.73,
            kaggle_hours=KAGGLE_GPU_HOURS,
            **_T4,
        ),
        Accelerator(
            name="t4x2",
            kind="gpu",
            num_replicas=2,
            usd_per_hour=1.08,
            kaggle_hours=KAGGLE_GPU_HOURS,
            **_T4,
        ),
        Accelerator(
            name="l4",
            kind="gpu",
            num_replicas=1,
            memory_gib=22.0,
            peak_tflops=121.0,
            gb_per_sec=300.0,
            usd_per_hour=0.85,
        ),
        Accelerator(
            name="a100",
            kind="gpu",
            num_replicas=1,
            memory_gib=39.0,
            peak_tflops=312.0,
            gb_per_sec=1555.0,
            usd_per_hour=3.67,
        ),
        Accelerator(
            name="h100",
            kind="gpu",
            num_replicas=1,
            memory_gib=78.0,
            peak_tflops=989.0,
            gb_per_sec=3350.0,
            usd_per_hour=11.06,
        ),
        Accelerator(name="v3-8", kind="tpu", num_replicas=8, usd_per_hour=8.0, **_V3),
        Accelerator(name="v3-32", kind="tpu", num_replicas=32, usd_per_hour=32.0, **_V3),
        Accelerator(name="v5e-1", kind="tpu", num_replicas=1, usd_per_hour=1.2, **_V5E),
        Accelerator(name="v5e-4", kind="tpu", num_replicas=4, usd_per_hour=4.8, **_V5E),
        Accelerator(
            name="v5e-8",
            kind="tpu",
            num_replicas=8,
            usd_per_hour=9.6,
            kaggle_hours=KAGGLE_TPU_HOURS,
            **_V5E,
        ),
        Accelerator(name="v5e-16", kind="tpu", num_replicas=16, usd_per_hour=19.2, **_V5E),
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
