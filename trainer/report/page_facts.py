"""What the page says of a run, from `run.json` alone: stages, curves, minutes, how to repeat it."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.progress import total_seconds
from trainer.report.page_charts import Curve
from trainer.report.soup_facts import soup_name


@dataclass(frozen=True, kw_only=True, slots=True)
class StageFacts:
    """What one stage brought; scores are those of its best epoch, None where nothing was scored."""

    name: str
    image_px: int
    train_from: str
    learning_rate: float
    epochs_planned: int
    epochs_done: int
    best_epoch: int | None
    accuracy: float | None
    loss: float | None
    gain: float | None
    """Validation accuracy over that of the stage before; None for the first."""
    seconds: float
    """All of the stage's entries of the time ledger."""
    last_step: int | None
    """Optimizer steps since the start of the run at its end."""
    num_skipped: int
    """Updates left out because a gradient was not finite."""


def stage_facts(record: Mapping[str, Any]) -> tuple[StageFacts, ...]:
    """One row a stage of the recipe, also for those that have not begun."""
    rows: list[StageFacts] = []
    before: float | None = None
    for stage in record["settings"]["recipe"]["stages"]:
        epochs = [epoch for epoch in record.get("history", ()) if epoch["stage"] == stage["name"]]
        best = next((epoch for epoch in reversed(epochs) if epoch["is_best"]), None)
        accuracy = best["val_accuracy"] if best else None
        rows.append(
            StageFacts(
                name=stage["name"],
                image_px=stage["image_px"],
                train_from=stage["train_from"],
                learning_rate=stage["learning_rate"],
                epochs_planned=stage["epochs"],
                epochs_done=max((epoch["epoch"] for epoch in epochs), default=0),
                best_epoch=best["epoch"] if best else None,
                accuracy=accuracy,
                loss=best["val_loss"] if best else None,
                gain=None if before is None or accuracy is None else accuracy - before,
                seconds=sum(record.get("seconds", {}).get(stage["name"], {}).values()),
                last_step=epochs[-1]["step"] if epochs else None,
                # Records of before they were counted do not tell.
                num_skipped=sum(epoch.get("num_skipped", 0) for epoch in epochs),
            )
        )
        before = accuracy if accuracy is not None else before
    return tuple(rows)


def status_of(record: Mapping[str, Any]) -> str:
    """`finished`, `soup of 3 runs`, or `stage 2 of 4 (small), epoch 3 of 14` of one in work."""
    if (name := soup_name(record)) is not None:
        return name
    if record["finished"]:
        return "finished"
    history = record.get("history", ())
    if not history:
        return "started, no epoch done"
    stages = record["settings"]["recipe"]["stages"]
    names = [stage["name"] for stage in stages]
    last = history[-1]
    if last["stage"] not in names:
        return f"stage {last['stage']}, epoch {last['epoch']}"
    index = names.index(last["stage"])
    return (
        f"stage {index + 1} of {len(stages)} ({last['stage']}), "
        f"epoch {last['epoch']} of {stages[index]['epochs']}"
    )


def curves(record: Mapping[str, Any], what: str) -> tuple[Curve, ...]:
    """Training and validation curves of `loss` or `accuracy` over optimizer steps."""
    found = []
    for name, key in (("training", f"train_{what}"), ("validation", f"val_{what}")):
        points = [
            (epoch["step"], epoch[key])
            for epoch in record.get("history", ())
            if epoch[key] is not None
        ]
        if points:
            found.append(Curve(name=name, points=tuple(points)))
    return tuple(found)


def borders(record: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """(name, last step) of the stages that have begun."""
    return tuple(
        (stage.name, stage.last_step)
        for stage in stage_facts(record)
        if stage.last_step is not None
    )


def softens_labels(record: Mapping[str, Any]) -> bool:
    """Whether training counts its loss on labels that are smoothed or mixed."""
    for stage in record["settings"]["recipe"]["stages"]:
        augmentation = stage.get("augmentation", {})
        mixes = augmentation.get("mixup_alpha") or augmentation.get("cutmix_alpha")
        if mixes or stage.get("label_smoothing"):
            return True
    return False


def ledger(record: Mapping[str, Any]) -> dict[str, float]:
    """Seconds by activity, over all stages and starts, the longest first."""
    return total_seconds(record.get("seconds", {}))


def command_of(record: Mapping[str, Any]) -> str:
    """The command that made the run, to be typed again."""
    _, *arguments = record["command"]
    module = "trainer.soup" if "soup" in record else "trainer.task"
    return shlex.join(["python", "-m", module, *arguments])
