"""What limits the input of a stage, what an accelerator would need, and the one thing to change.

Pure functions over measured rates; nothing here knows TensorFlow.
"""

import math
from dataclasses import dataclass
from typing import Any

from trainer.accelerators import ACCELERATORS
from trainer.report.durations import describe_seconds

SCHEMA_VERSION = 1
_MIB = 2**20

EFFICIENCY = 0.07
"""Share of the peak that EfficientNets reach: a B5 at 224 px (2.4 G multiply-adds forward, three
times that to train) at 7,500 photos a second on 8 v5e cores of 197 TFLOP/s each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRates:
    """What this host does for one stage, measured."""

    name: str
    image_px: int
    read_per_sec: float
    """Encoded photos out of the shards."""
    decode_per_sec: float
    """Photos to canvases, all cores."""
    gather_per_sec: float
    """Canvases from memory into batches, through the whole feed."""
    augment_per_sec: float
    """Canvases to pictures on this process' device."""
    transfer_mib_per_sec: float
    """Host to device; without an accelerator a copy within memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageNeed:
    """What a stage asks of the host."""

    num_examples: int
    """Photos of the training and validation splits."""
    canvas_bytes: int
    """Of one photo."""
    cache: str
    """memory | disk | none: what `--cache` comes to here."""
    images_per_sec: float | None
    """What the accelerator trains; None if none was named."""
    device_is_here: bool
    """Whether there is an accelerator; else the way to it was not measured and limits nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """The verdict on one stage."""

    first_epoch_per_sec: float
    """Photos a second while they are decoded for the first time."""
    later_per_sec: float
    """Photos a second from then on."""
    limit: str
    """Which of read, decode, gather, transfer bounds `later_per_sec`."""
    keeps_up: bool | None
    """Whether later epochs feed the accelerator; None without one."""
    advice: str


def train_images_per_sec(accelerator: str, forward_macs: float, trained_macs: float) -> float:
    """Estimated photos a second: a forward pass, and twice the trained part of it backwards.

    Args:
        accelerator: a GPU or TPU of `trainer.accelerators`.
        forward_macs: multiply-adds of the network for one photo.
        trained_macs: those of the blocks that the stage trains.
    """
    flops = 2 * (forward_macs + 2 * trained_macs)
    device = ACCELERATORS[accelerator]
    return device.num_replicas * device.peak_tflops * 1e12 * EFFICIENCY / flops


def diagnose(rates: StageRates, need: StageNeed, num_cores: int) -> Diagnosis:
    """Finds the limit and the one setting or number of cores that lifts it."""
    transfer = math.inf
    if need.device_is_here:
        transfer = rates.transfer_mib_per_sec * _MIB / need.canvas_bytes
    decoding = {"read": rates.read_per_sec, "decode": rates.decode_per_sec}
    keeping = {"gather": rates.gather_per_sec, "transfer": transfer}
    later = {**decoding, "transfer": transfer} if need.cache == "none" else keeping
    limit = min(later, key=lambda name: later[name])
    first = min(*decoding.values(), transfer)
    wanted = need.images_per_sec
    keeps_up = None if wanted is None else later[limit] >= wanted
    return Diagnosis(
        first_epoch_per_sec=first,
        later_per_sec=later[limit],
        limit=limit,
        keeps_up=keeps_up,
        advice=_advice(rates, need, num_cores, limit, later[limit], first),
    )


def _advice(
    rates: StageRates, need: StageNeed, num_cores: int, limit: str, later: float, first: float
) -> str:
    wanted = need.images_per_sec
    if wanted is None:
        return f"{limit} bounds it; name an --accelerator to see whether that is enough"
    if later >= wanted:
        if first >= wanted:
            return "nothing to change"
        slower = need.num_examples / first - need.num_examples / wanted
        cause = "for reading (a local copy of the records may hide it)"
        if rates.decode_per_sec <= rates.read_per_sec:
            cores = math.ceil(num_cores * min(wanted, rates.read_per_sec) / rates.decode_per_sec)
            part = "" if wanted <= rates.read_per_sec else "most of "
            cause = f"for decoding ({cores} cores would hide {part}it)"
        return (
            f"nothing to change: only the first epoch waits, {describe_seconds(slower)} in all, "
            f"{cause}"
        )
    if limit == "decode":
        gib = need.num_examples * need.canvas_bytes / 2**30
        cores = math.ceil(num_cores * wanted / rates.decode_per_sec)
        return (
            f"photos are decoded in every epoch: --cache=disk (or memory), which takes "
            f"{gib:.1f} GiB, or {cores} cores instead of {num_cores}"
        )
    if limit == "read":
        return "reading is slow: copy the records to a local disk and name that folder with --data"
    if limit == "gather":
        cores = math.ceil(num_cores * wanted / rates.gather_per_sec)
        setting = " or --cache=memory" if need.cache == "disk" else ""
        return f"copying rows is slow: {cores} cores instead of {num_cores}{setting}"
    mib = wanted * need.canvas_bytes / _MIB
    return (
        f"the way to the device is slow: {mib:.0f} MiB/s are needed and "
        f"{rates.transfer_mib_per_sec:.0f} are there; use more hosts, or a smaller image_px"
    )


def measurements_json(num_cores: int, stages: tuple[StageRates, ...]) -> dict[str, Any]:
    """What `--json` writes: a schema version, the host and the measured rates of each stage."""
    return {
        "schema_version": SCHEMA_VERSION,
        "host": {"cores": num_cores},
        "stages": [
            {
                name: (round(value, 1) if isinstance(value, float) else value)
                for name, value in (
                    (name, getattr(rates, name)) for name in StageRates.__dataclass_fields__
                )
            }
            for rates in stages
        ],
    }


def report_lines(rates: StageRates, need: StageNeed, diagnosis: Diagnosis) -> list[str]:
    """The stage for people."""
    gib = need.num_examples * need.canvas_bytes / 2**30
    where = "" if need.device_is_here else " (within memory: no accelerator is here)"
    stage = f"{rates.name}, {rates.image_px} px, --cache={need.cache} ({gib:.2f} GiB of canvases)"
    measured = (
        f"  photos/s: read {rates.read_per_sec:,.0f}, decode {rates.decode_per_sec:,.0f}, "
        f"gather {rates.gather_per_sec:,.0f}, augment {rates.augment_per_sec:,.0f} here; "
        f"transfer {rates.transfer_mib_per_sec:,.0f} MiB/s{where}"
    )
    epochs = (
        f"  first epoch {diagnosis.first_epoch_per_sec:,.0f} photos/s, later "
        f"{diagnosis.later_per_sec:,.0f} (limit: {diagnosis.limit})"
    )
    lines = [stage, measured, epochs]
    if need.images_per_sec is not None:
        verdict = "keeps up" if diagnosis.keeps_up else "does NOT keep up"
        lines.append(
            f"  the accelerator would train about {need.images_per_sec:,.0f} photos/s: "
            f"this host {verdict}"
        )
    return [*lines, f"  {diagnosis.advice}"]
