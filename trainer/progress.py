"""Where a run stands: pure data, saved with the weights, enough to go on to the very next batch."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.recipe import Recipe, Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """What one epoch brought; `epoch` 0 is the carried-over network before any step."""

    stage: str
    epoch: int
    step: int
    """Optimizer steps since the start of the run."""
    learning_rate: float
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    is_best: bool
    seconds: float
    gradient_norm: float | None = None
    """Global norm of the last step's gradient, before clipping."""
    num_skipped: int = 0
    """Updates left out because a gradient was not finite."""
    weight_norm: float | None = None
    """Global norm of all trained variables at the end of the epoch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """State of a run between two optimizer steps."""

    stage: int = 0
    """Index of the stage in work; the number of stages when all are done."""
    step: int = 0
    """Optimizer steps done in this stage, each of `global_batch` examples."""
    global_batch: int | None = None
    """None before the first step of a stage."""
    epoch: int = 0
    """Epochs of this stage that have ended, evaluation included."""
    steps_before: int = 0
    """Optimizer steps of all earlier stages."""
    rate_factor: float = 1.0
    """What plateaus have left of the learning rate in this stage."""
    best_value: float | None = None
    """Of the recipe's monitor in this stage."""
    best_file: str | None = None
    """Weights of the best epoch of this stage, in the run folder."""
    epochs_since_best: int = 0
    epochs_since_reduction: int = 0
    carried_file: str | None = None
    """Weights with which this stage began; None for the first."""
    history: tuple[EpochRecord, ...] = ()
    seconds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Time ledger: stage -> what -> seconds, over all starts of the run."""

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Progress":
        """Reads what `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        fields["history"] = tuple(EpochRecord(**record) for record in fields["history"])
        return cls(**fields)


def is_better(monitor: str, value: float, best: float | None) -> bool:
    """Whether a value of the monitor beats the best so far; not-a-number never does."""
    if value != value:
        return False
    if best is None:
        return True
    return value > best if monitor == "val_accuracy" else value < best


def after_epoch(
    progress: Progress, recipe: Recipe, stage: Stage, record: EpochRecord, best_file: str | None
) -> Progress:
    """The progress after an epoch's evaluation: best, plateau and history brought up to date.

    `best_file` names the weights of this epoch if `record.is_best`. Without a validation split the
    newest epoch counts as the best.
    """
    value = record.val_accuracy if recipe.monitor == "val_accuracy" else record.val_loss
    since_best = 0 if record.is_best else progress.epochs_since_best + 1
    since_reduction = 0 if record.is_best else progress.epochs_since_reduction + 1
    rate_factor = progress.rate_factor
    if stage.plateau_patience is not None and since_reduction >= stage.plateau_patience:
        rate_factor *= stage.plateau_factor
        since_reduction = 0
    return dataclasses.replace(
        progress,
        epoch=record.epoch,
        rate_factor=rate_factor,
        best_value=value if record.is_best else progress.best_value,
        best_file=best_file if record.is_best else progress.best_file,
        epochs_since_best=since_best,
        epochs_since_reduction=since_reduction,
        history=(*progress.history, record),
    )


def stage_is_over(progress: Progress, stage: Stage) -> bool:
    """All epochs seen, or patience at its end."""
    patience = stage.early_stopping_patience
    return progress.epoch >= stage.epochs or (
        patience is not None and progress.epochs_since_best >= patience
    )


def next_stage(progress: Progress) -> Progress:
    """The progress at the start of the following stage, which begins with the best weights."""
    return Progress(
        stage=progress.stage + 1,
        steps_before=progress.steps_before + progress.step,
        carried_file=progress.best_file or progress.carried_file,
        history=progress.history,
        seconds=progress.seconds,
    )


def in_batches_of(progress: Progress, global_batch: int) -> Progress:
    """The progress of a stage whose batches have another size from now on.

    `step` then counts new batches up to the same example, rounded down: a part of one batch may be
    seen once more, and nothing is left out. The steps of the run stay those that were made.
    """
    if progress.global_batch is None or progress.global_batch == global_batch:
        return dataclasses.replace(progress, global_batch=global_batch)
    step = progress.step * progress.global_batch // global_batch
    return dataclasses.replace(
        progress,
        step=step,
        steps_before=progress.steps_before + progress.step - step,
        global_batch=global_batch,
    )


def with_seconds(progress: Progress, stage: str, spent: Mapping[str, float]) -> Progress:
    """Adds to the time ledger of a stage."""
    seconds = {name: dict(row) for name, row in progress.seconds.items()}
    row = seconds.setdefault(stage, {})
    for what, amount in spent.items():
        row[what] = row.get(what, 0.0) + amount
    return dataclasses.replace(progress, seconds=seconds)


def total_seconds(seconds: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The time ledger summed over the stages: what -> seconds, the longest first."""
    spent: dict[str, float] = {}
    for row in seconds.values():
        for what, amount in row.items():
            spent[what] = spent.get(what, 0.0) + amount
    return dict(sorted(spent.items(), key=lambda item: -item[1]))
