"""What earlier runs and the input doctor measured, for the planner to lean on."""

import json
import re
from pathlib import Path
from typing import Any

from launch.planning.estimate import InputRates, estimate_stage
from trainer.accelerators import Accelerator
from trainer.errors import DataError, RunFolderError
from trainer.plan import plan_stages
from trainer.run_record import FILE_NAME, recipe_from_json

DOCTOR_VERSION = 1
_MIB = 2**20


def load_input_rates(path: str, accelerator: Accelerator) -> dict[str, InputRates]:
    """Photos a second by stage, from what `trainer.input_doctor --json` wrote.

    The first epoch reads and decodes; later ones gather and, but for a CPU, transfer.

    Raises:
        DataError: not that file.
    """
    try:
        record: dict[str, Any] = json.loads(Path(path).read_text())
        if record["schema_version"] != DOCTOR_VERSION:
            raise ValueError(f"schema version {record['schema_version']}")
        return {stage["name"]: _rates_of(stage, accelerator) for stage in record["stages"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"--input={path} cannot be used ({error}); need measurements of the input; make them "
            "with trainer.input_doctor --json=FILE"
        ) from error


def _rates_of(stage: dict[str, Any], accelerator: Accelerator) -> InputRates:
    canvas_px = -(-stage["image_px"] * 8 // 56) * 8
    later = float(stage["gather_per_sec"])
    if accelerator.kind != "cpu":
        later = min(later, stage["transfer_mib_per_sec"] * _MIB / (3 * canvas_px**2))
    first = min(float(stage["read_per_sec"]), float(stage["decode_per_sec"]), later)
    return InputRates(first_epoch=first, later=later)


def load_speed_factor(run_dir: str, accelerator: Accelerator) -> tuple[float, str]:
    """How fast a finished run was beside the estimate for it, and that as a sentence.

    Seconds in steps over all stages count, those of compiling and stages on kept features do not.

    Raises:
        RunFolderError: no record of a run, one without steps, or one of another kind of device.
    """
    path = Path(run_dir) / FILE_NAME
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        recipe = recipe_from_json(record["settings"]["recipe"])
        devices, splits = record["devices"], record["data"]["splits"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"--ledger={run_dir} cannot be used ({error}); need the --run_dir of a run; take one "
            "that trainer.task made"
        ) from error
    cores = re.search(r"CPU with (\d+) cores", devices["strategy"])
    kind = "cpu" if cores else "tpu" if "TPU" in devices["strategy"] else "gpu"
    if kind != accelerator.kind:
        raise RunFolderError(
            f"--ledger={run_dir} ran on a {kind}, the plan is for a {accelerator.kind}; need a run "
            "on the same kind of device; leave --ledger out"
        )
    plans = plan_stages(
        recipe,
        num_examples=splits["train"],
        num_replicas=devices["num_replicas"],
        batch_scaling=record["settings"].get("batch_scaling", "fixed"),
    )
    measured = estimated = 0.0
    for plan in plans:
        spent = record.get("seconds", {}).get(plan.stage.name, {}).get("step", 0.0)
        epochs = [e for e in record["history"] if e["stage"] == plan.stage.name]
        # Stopped in its first epoch, a stage has seconds and no epoch to compare them with.
        if not spent or not epochs or not epochs[-1]["epoch"] or plan.stage.cache_feature_views:
            continue
        guess = estimate_stage(recipe, plan, accelerator, num_cores=int(cores[1]) if cores else 2)
        share = epochs[-1]["epoch"] / plan.stage.epochs
        measured += spent
        estimated += guess.train_secs * share
    if not measured:
        raise RunFolderError(
            f"--ledger={run_dir} holds no seconds of steps; need a run that trained; take another"
        )
    factor = estimated / measured
    return factor, f"times are divided by {factor:.2f}, the speed of {run_dir} over its estimate"
