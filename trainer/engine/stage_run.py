"""One stage from its first (or next) step to its best weights."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from trainer.engine.built_stage import BuiltStage
from trainer.engine.checkpoints import Checkpoints
from trainer.engine.evaluation import loss_and_accuracy
from trainer.engine.ledger import TimeLedger
from trainer.engine.stage_times import StageTimes
from trainer.engine.steps import MAX_STEPS_PER_CALL, TrainMetrics
from trainer.engine.stop import StopSignal
from trainer.engine.updates import check_skipped_epoch, check_updates_of_stage
from trainer.engine.workers import Verdict, Workers
from trainer.errors import LossError, Preempted
from trainer.input.canvases import Canvases
from trainer.input.feed import data_errors_told
from trainer.plan import StagePlan
from trainer.progress import (
    EpochRecord,
    Progress,
    after_epoch,
    in_batches_of,
    is_better,
    stage_is_over,
    with_seconds,
)
from trainer.recipe import Recipe

_SECS_PER_CALL = 1.0
_EXPLODED = 30.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HostCall:
    """One or more optimizer steps that the host asked for at once."""

    metrics: TrainMetrics
    """Over the epoch so far."""
    num_images: int
    seconds: float
    input_wait_secs: float
    """Part of `seconds` in which the step waited for its batches."""
    is_first: bool
    """Of this start of the stage: the compilation is in it."""


class Observer(Protocol):
    """Who watches a run: display, TensorBoard, run record. Called on the chief only."""

    def on_steps(self, plan: StagePlan, progress: Progress, call: HostCall) -> None:
        """After each host call."""

    def on_epoch(self, plan: StagePlan, progress: Progress, record: EpochRecord) -> None:
        """After each evaluation."""


@dataclasses.dataclass(kw_only=True, slots=True)
class StageRun:
    """What the loop of one stage needs; `run` carries it out."""

    recipe: Recipe
    plan: StagePlan
    built: BuiltStage
    make_feed: Callable[[int], Iterator[Any]]
    """First step -> batches from there on."""
    validation: Canvases | None
    checkpoints: Checkpoints
    save_weights: Callable[[EpochRecord], str]
    """Writes the network's weights as the best so far; returns the file's name."""
    checkpoint_secs: float
    stop: StopSignal
    ledger: TimeLedger
    times: StageTimes
    observers: tuple[Observer, ...]
    workers: Workers
    write_capsule: Callable[[Progress, Sequence[float], float], str]
    """Progress behind the failed steps, their rates and the loss -> folder of the capsule."""
    announce: Callable[[str], None] = lambda line: None
    """Shows a line to the user; the chief's does."""
    max_steps_per_call: int = MAX_STEPS_PER_CALL
    _saved_at: float = dataclasses.field(default=0.0, init=False)

    def run(self, progress: Progress) -> Progress:
        """Trains to the end of the stage and returns the progress with its best.

        Raises:
            Preempted: told to stop; a checkpoint is written.
            LossError: the loss exploded or is not a number any more.
            TrainingError: no update was made, since no gradient is finite.
            DataError: a record cannot be read.
        """
        stage = self.plan.stage
        progress = in_batches_of(progress, self.plan.global_batch)
        if (
            progress.step == 0
            and progress.epoch == 0
            and progress.best_value is None
            and self.plan.index > 0
        ):
            progress = self._end_epoch(progress, 0, time.monotonic())
        feed = self.make_feed(progress.step)
        epoch_start = self._saved_at = time.monotonic()
        while not stage_is_over(progress, stage):
            epoch_end = self.plan.epoch_end(progress.epoch)
            progress, verdict = self._train_until(epoch_end, progress, feed)
            if verdict.stops:
                self._save(progress)
                self.checkpoints.wait()
                reason = self.stop.reason(self._secs_to_finish()) or "another worker"
                raise Preempted(
                    f"stopped by {reason} in stage {stage.name!r} after step {progress.step} of "
                    f"{self.plan.num_steps}; "
                    "the checkpoint is written; start the same command again to go on"
                )
            if progress.step >= epoch_end:
                epoch = self.plan.epochs_done(progress.step)
                progress = self._end_epoch(progress, epoch, epoch_start)
                epoch_start = time.monotonic()
            if verdict.saves:
                progress = self._save(progress)
        check_updates_of_stage(self.recipe, stage, self.built.state.optimizer)
        return with_seconds(progress, stage.name, self.ledger.take())

    def _train_until(
        self, epoch_end: int, progress: Progress, feed: Iterator[Any]
    ) -> tuple[Progress, Verdict]:
        """Host calls up to the end of the epoch, a due checkpoint or a stop, whichever is first."""
        verdict = Verdict(stops=False, saves=False, num_steps=1)
        while progress.step < epoch_end and not (verdict.stops or verdict.saves):
            num_steps = min(verdict.num_steps, epoch_end - progress.step)
            steps = range(progress.step, progress.step + num_steps)
            rates = (
                np.array([self.plan.learning_rate_at(step) for step in steps])
                * progress.rate_factor
            )
            call_start = time.monotonic()
            first_call = self.times.is_first_call
            if first_call and not self.built.is_compiled:
                self.announce(f"compiling the steps of stage {self.plan.stage.name!r} ...")
            with data_errors_told():
                input_wait_secs = self.built.state.steps.run(feed, rates)
                metrics = self.built.state.steps.read_metrics()
            spent = time.monotonic() - call_start
            self.times.count_call(spent, input_wait_secs, num_steps)
            if first_call:
                self._announce_first_step(spent, input_wait_secs)
            self.checkpoints.note_unsaved(self.ledger.unsaved_secs())
            progress = dataclasses.replace(progress, step=progress.step + num_steps)
            self._check_loss(metrics.loss, progress, rates)
            call = HostCall(
                metrics=metrics,
                num_images=num_steps * self.plan.global_batch,
                seconds=spent,
                input_wait_secs=input_wait_secs,
                is_first=first_call,
            )
            for observer in self.observers:
                observer.on_steps(self.plan, progress, call)
            if not first_call:
                wanted = round(_SECS_PER_CALL * num_steps / max(spent, 1e-6))
                num_steps = max(1, min(wanted, 2 * num_steps, self.max_steps_per_call))
            verdict = self.workers.agree(
                Verdict(
                    stops=self.stop.reason(self._secs_to_finish()) is not None,
                    saves=time.monotonic() - self._saved_at >= self.checkpoint_secs,
                    num_steps=num_steps,
                )
            )
        return progress, verdict

    def _end_epoch(self, progress: Progress, epoch: int, started: float) -> Progress:
        stage, trained = self.plan.stage, epoch > 0
        metrics = self.built.state.steps.read_metrics()
        if trained:
            self._check_updates(metrics, progress, epoch)
        val_loss = val_accuracy = None
        self.built.state.swap_averages()
        try:
            if self.validation is not None:
                with self.times.evaluation():
                    val_loss, val_accuracy = loss_and_accuracy(
                        *self.built.evaluator.logits_and_labels(self.validation)
                    )
            value = val_accuracy if self.recipe.monitor == "val_accuracy" else val_loss
            best = value is None or is_better(self.recipe.monitor, value, progress.best_value)
            record = EpochRecord(
                stage=stage.name,
                epoch=epoch,
                step=progress.steps_before + progress.step,
                learning_rate=self.plan.learning_rate_at(max(0, progress.step - 1))
                * progress.rate_factor,
                train_loss=metrics.loss if trained else None,
                train_accuracy=metrics.accuracy if trained else None,
                val_loss=val_loss,
                val_accuracy=val_accuracy,
                is_best=best,
                seconds=time.monotonic() - started,
                gradient_norm=metrics.gradient_norm if trained else None,
                num_skipped=metrics.num_skipped if trained else 0,
                weight_norm=self.built.state.steps.weight_norm(),
            )
            best_file = None
            if best:
                with self.ledger.measure("checkpoint"):
                    best_file = self.save_weights(record)
        finally:
            self.built.state.swap_averages()
        self.built.state.steps.reset_metrics()
        progress = after_epoch(progress, self.recipe, stage, record, best_file)
        # The progress itself takes over the ledger with a checkpoint only: behind that it is lost.
        told = with_seconds(progress, stage.name, self.ledger.spent())
        for observer in self.observers:
            observer.on_epoch(self.plan, told, record)
        return progress

    def _announce_first_step(self, call_secs: float, input_wait_secs: float) -> None:
        call = "first call" if self.built.is_compiled else "first call, with compilation"
        told = self.times.to_first_step(call, call_secs, input_wait_secs)
        self.announce(f"first step of stage {self.plan.stage.name!r} after {told}")

    def _save(self, progress: Progress) -> Progress:
        with self.ledger.measure("checkpoint"):
            arrays = self.built.state.snapshot()
            # Waits for the one before, so that the time it cost is in this one's ledger.
            self.checkpoints.wait()
        progress = with_seconds(progress, self.plan.stage.name, self.ledger.take())
        self.checkpoints.save(arrays, progress)
        self._saved_at = time.monotonic()
        return progress

    def _check_loss(self, loss: float, progress: Progress, rates: np.ndarray) -> None:
        """Raises LossError, with a capsule, when the loss exploded."""
        # The loss of a uniform guess is log K; many times that, averaged over an epoch, never
        # comes back.
        limit = _EXPLODED * np.log(self.built.state.num_classes + 1)
        if np.isfinite(loss) and loss < limit:
            return
        self.checkpoints.wait()
        capsule = self.write_capsule(progress, rates.tolist(), loss)
        # The recipe's, not the plan's: that one may be scaled by the replicas.
        name, lower = self.plan.stage.name, self.plan.stage.learning_rate / 3
        raise LossError(
            f"the loss of stage {name!r} is {loss:.4g} after step {progress.step}; need a number "
            f"below {limit:.0f}; look at it with: python -m trainer.replay {capsule}, or lower "
            f"the rate with --set stages.{name}.learning_rate={lower:.1g}; "
            "the last checkpoint is intact",
            capsule,
        )

    def _check_updates(self, metrics: TrainMetrics, progress: Progress, epoch: int) -> None:
        """Raises TrainingError where the epoch has changed nothing and the next would not."""
        num_steps = progress.steps_before + progress.step
        if progress.history:
            num_steps -= progress.history[-1].step
        if metrics.num_skipped < num_steps:
            return
        self.checkpoints.wait()
        check_skipped_epoch(
            self.recipe, self.plan.stage, self.built.state.optimizer, metrics, epoch
        )

    def _secs_to_finish(self) -> float:
        return self.times.secs_to_finish(self.checkpoints.longest_write_secs)
