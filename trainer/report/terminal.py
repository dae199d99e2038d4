"""The live line of a run: one line that moves on a terminal, plain lines elsewhere."""

import sys
import time
from typing import TYPE_CHECKING

from trainer.plan import StagePlan
from trainer.progress import EpochRecord, Progress

if TYPE_CHECKING:
    from trainer.engine.rehearsal import RehearsedStage

_SECS_BETWEEN_PLAIN_LINES = 30.0


def print_rehearsed(stage: "RehearsedStage") -> None:
    """One line on what the rehearsal of a stage took."""
    print(
        f"rehearsed {stage.name}: compiled in {stage.compile_secs:.0f} s, step "
        f"{stage.step_secs:.2f} s, peak memory {stage.peak_mib:.0f} MiB",
        flush=True,
    )


class TerminalProgress:
    """Observer that prints: stage, epoch, loss, images/s and the time left."""

    def __init__(self, plans: tuple[StagePlan, ...]):
        self._plans = plans
        self._live = sys.stdout.isatty()
        self._last_line = time.monotonic()
        self._images_per_sec: dict[int, float] = {}

    def on_steps(
        self, plan: StagePlan, progress: Progress, loss: float, images_per_sec: float
    ) -> None:
        """One line, at most every few seconds where it cannot be overwritten."""
        if images_per_sec > 0:
            before = self._images_per_sec.get(plan.index, images_per_sec)
            self._images_per_sec[plan.index] = 0.8 * before + 0.2 * images_per_sec
        now = time.monotonic()
        if not self._live and now - self._last_line < _SECS_BETWEEN_PLAIN_LINES:
            return
        self._last_line = now
        text = (
            f"{self._where(plan, progress)}  step {progress.step}/{plan.num_steps}  loss {loss:.3f}"
        )
        if plan.index in self._images_per_sec:
            speed = self._images_per_sec[plan.index]
            text += f"  {speed:.0f} images/s  {self._time_left(plan, progress)} left"
        print(
            f"\r\x1b[2K{text}" if self._live else text, end="" if self._live else "\n", flush=True
        )

    def on_epoch(self, plan: StagePlan, progress: Progress, record: EpochRecord) -> None:
        """A line that stays."""
        parts = [f"[{plan.stage.name} {record.epoch}/{plan.stage.epochs}]"]
        if record.train_loss is not None:
            parts.append(f"train loss {record.train_loss:.3f} accuracy {record.train_accuracy:.3f}")
        if record.val_loss is not None:
            parts.append(f"val loss {record.val_loss:.3f} accuracy {record.val_accuracy:.3f}")
        if record.epoch:
            parts.append(f"rate {record.learning_rate:.1e}  {record.seconds:.0f} s")
        else:
            parts.append("(before training)")
        if record.is_best:
            parts.append("*")
        print(("\r\x1b[2K" if self._live else "") + "  ".join(parts), flush=True)
        self._last_line = time.monotonic()

    def _where(self, plan: StagePlan, progress: Progress) -> str:
        epoch = min(progress.epoch + 1, plan.stage.epochs)
        stage = f"stage {plan.index + 1}/{len(self._plans)} {plan.stage.name}"
        return f"{stage}  epoch {epoch}/{plan.stage.epochs}"

    def _time_left(self, plan: StagePlan, progress: Progress) -> str:
        """Of this stage; later stages run at another size and speed."""
        steps_left = plan.num_steps - progress.step
        seconds = steps_left * plan.global_batch / self._images_per_sec[plan.index]
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
