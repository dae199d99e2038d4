"""The plan for people and as JSON."""

from collections.abc import Sequence
from typing import Any

from launch.planning.estimate import StageEstimate
from launch.planning.prices import KAGGLE_HOURS, PRICES_FROM, PRICES_SOURCE
from trainer.accelerators import Accelerator


def report_lines(
    estimates: Sequence[StageEstimate],
    accelerator: Accelerator,
    usd_per_hour: float,
    assumptions: Sequence[str],
) -> list[str]:
    """A table of the stages, the sum, and what was assumed."""
    columns = "stage|px|trains|batch|replica x micro|steps|photos seen|GiB|photos/s|limit|minutes"
    rows: list[tuple[str, ...]] = [tuple(columns.split("|"))]
    for estimate in estimates:
        plan = estimate.plan
        micro = f" in {plan.num_micro_batches}" if plan.num_micro_batches > 1 else ""
        rows.append(
            (
                plan.stage.name,
                str(plan.stage.image_px),
                plan.stage.train_from,
                str(plan.global_batch),
                f"{plan.num_replicas} x {plan.replica_batch}{micro}",
                str(plan.num_steps),
                f"{estimate.images_seen:,}",
                f"{estimate.memory_gib:.1f}" + ("" if estimate.fits else "!"),
                f"{estimate.photos_per_sec:,.0f}",
                estimate.limit,
                f"{estimate.seconds / 60:.1f}",
            )
        )
    lines = table(rows)
    seconds = sum(estimate.seconds for estimate in estimates)
    total = f"in all {seconds / 60:.0f} minutes on {accelerator.name}"
    if usd_per_hour:
        total += f", {usd_per_hour * seconds / 3600:.2f} USD at {usd_per_hour:.2f} an hour"
    quota = KAGGLE_HOURS.get(accelerator.name)
    if quota:
        total += f", {seconds / 3600 / quota:.1%} of Kaggle's {quota:.0f} hours a week"
    lines.append(total)
    for estimate in estimates:
        if not estimate.fits:
            lines.append(
                f"! {estimate.plan.stage.name} may need more than the "
                f"{accelerator.memory_gib:g} GiB of a replica: --set max_replica_batch=N goes "
                "through its batch in parts"
            )
    lines.append("assumed:")
    lines += [f"  - {assumption}" for assumption in assumptions]
    if usd_per_hour:
        lines.append(f"  - {PRICES_FROM} ({PRICES_SOURCE}); give yours with --usd_per_hour")
    return lines


def plan_json(
    estimates: Sequence[StageEstimate],
    accelerator: Accelerator,
    usd_per_hour: float,
    assumptions: Sequence[str],
) -> dict[str, Any]:
    """The same as plain data."""
    seconds = sum(estimate.seconds for estimate in estimates)
    quota = KAGGLE_HOURS.get(accelerator.name)
    return {
        "schema_version": 1,
        "accelerator": accelerator.name,
        "num_replicas": accelerator.num_replicas,
        "minutes": round(seconds / 60, 2),
        "usd": round(usd_per_hour * seconds / 3600, 2),
        "kaggle_share": round(seconds / 3600 / quota, 4) if quota else None,
        "stages": [
            {
                "name": estimate.plan.stage.name,
                "image_px": estimate.plan.stage.image_px,
                "global_batch": estimate.plan.global_batch,
                "replica_batch": estimate.plan.replica_batch,
                "num_micro_batches": estimate.plan.num_micro_batches,
                "num_steps": estimate.plan.num_steps,
                "images_seen": estimate.images_seen,
                "memory_gib": round(estimate.memory_gib, 2),
                "fits": estimate.fits,
                "photos_per_sec": round(estimate.photos_per_sec, 1),
                "limit": estimate.limit,
                "minutes": round(estimate.seconds / 60, 2),
            }
            for estimate in estimates
        ],
        "assumptions": list(assumptions),
    }


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell; the first is left-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
