"""The live display of a run: three lines that move on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trainer.plan import StagePlan
from trainer.progress import EpochRecord, Progress
from trainer.report.durations import describe_seconds
from trainer.report.time_left import run_seconds_left, stage_seconds_left

if TYPE_CHECKING:
    from trainer.engine.rehearsal import RehearsedStage
    from trainer.engine.stage_run import HostCall

_SECS_BETWEEN_PLAIN_LINES = 30.0
_NEWEST = 0.2
"""Weight of the newest host call in the speed shown."""


def print_rehearsed(stage: "RehearsedStage") -> None:
    """One line on what the rehearsal of a stage took."""
    print(
        f"rehearsed {stage.name}: compiled in {stage.compile_secs:.0f} s, step "
        f"{stage.step_secs:.2f} s, peak memory {stage.peak_mib:.0f} MiB",
        flush=True,
    )


class TerminalProgress:
    """Observer that shows stage, epoch, loss, accuracy, images/s, waiting for input, time left.

    Use it as a context manager: the live lines end with the block.

    Args:
        plans: of all stages.
        secs_to_deadline: seconds left, None without a deadline.
        quiet: shows nothing.
        verbose: where lines cannot move, one for every host call.
        console: where to; standard output by default.
    """

    def __init__(
        self,
        plans: tuple[StagePlan, ...],
        secs_to_deadline: Callable[[], float | None] = lambda: None,
        quiet: bool = False,
        verbose: bool = False,
        console: Console | None = None,
    ):
        self._plans = plans
        self._secs_to_deadline = secs_to_deadline
        self._quiet = quiet
        self._console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True)
        moves = self._console.is_terminal and not quiet and not verbose
        self._live = Live(console=self._console, transient=True) if moves else None
        self._secs_between_lines = 0.0 if verbose else _SECS_BETWEEN_PLAIN_LINES
        self._last_line = time.monotonic()
        self._stage: int | None = None
        self._secs_per_image: float | None = None
        self._waiting = 0.0
        self._secs_per_evaluation = 0.0
        self._epoch_secs = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def on_steps(self, plan: StagePlan, progress: Progress, call: "HostCall") -> None:
        """Moves the live lines, or prints one at most every 30 s."""
        self._measure(plan, call)
        if self._live is not None:
            self._live.update(self._renderable(plan, progress, call))
            return
        now = time.monotonic()
        if self._quiet or now - self._last_line < self._secs_between_lines:
            return
        self._last_line = now
        parts = [self._where(plan, progress), f"step {progress.step}/{plan.num_steps}"]
        self._print("  ".join([*parts, *self._state(call), *self._left(plan, progress)]))

    def on_epoch(self, plan: StagePlan, progress: Progress, record: EpochRecord) -> None:
        """Prints a line that stays."""
        self._enter_stage(plan)
        if record.epoch:
            self._secs_per_evaluation = max(0.0, record.seconds - self._epoch_secs)
        self._epoch_secs = 0.0
        if self._quiet:
            return
        parts = [f"[{plan.stage.name} {record.epoch}/{plan.stage.epochs}]"]
        if record.train_loss is not None:
            parts.append(f"train loss {record.train_loss:.3f} accuracy {record.train_accuracy:.3f}")
        if record.val_loss is not None:
            parts.append(f"val loss {record.val_loss:.3f} accuracy {record.val_accuracy:.3f}")
        if record.epoch:
            parts.append(f"rate {record.learning_rate:.1e}  {describe_seconds(record.seconds)}")
        else:
            parts.append("(before training)")
        if record.num_skipped:
            updates = "update" if record.num_skipped == 1 else "updates"
            parts.append(f"{record.num_skipped} {updates} skipped (gradients not finite)")
        if record.is_best:
            parts.append("*")
        self._print("  ".join(parts))
        self._last_line = time.monotonic()

    def _enter_stage(self, plan: StagePlan) -> None:
        if plan.index != self._stage:
            self._stage, self._secs_per_image = plan.index, None
            self._secs_per_evaluation = self._epoch_secs = 0.0

    def _measure(self, plan: StagePlan, call: "HostCall") -> None:
        self._enter_stage(plan)
        self._epoch_secs += call.seconds
        if call.is_first:
            return
        secs_per_image = call.seconds / call.num_images
        waiting = call.input_wait_secs / max(call.seconds, 1e-9)
        if self._secs_per_image is None:
            self._secs_per_image, self._waiting = secs_per_image, waiting
        self._secs_per_image += _NEWEST * (secs_per_image - self._secs_per_image)
        self._waiting += _NEWEST * (waiting - self._waiting)

    def _where(self, plan: StagePlan, progress: Progress) -> str:
        epoch = min(progress.epoch + 1, plan.stage.epochs)
        stage = f"stage {plan.index + 1}/{len(self._plans)} {plan.stage.name}"
        return f"{stage}  epoch {epoch}/{plan.stage.epochs}"

    def _state(self, call: "HostCall") -> list[str]:
        metrics = call.metrics
        parts = [f"loss {metrics.loss:.3f}", f"accuracy {metrics.accuracy:.3f}"]
        if self._secs_per_image is not None:
            parts.append(f"{_speed(1 / self._secs_per_image)} images/s")
            parts.append(f"waiting for input {self._waiting:.0%}")
        return parts

    def _left(self, plan: StagePlan, progress: Progress) -> list[str]:
        if self._secs_per_image is None:
            return []
        measured = (self._secs_per_image, self._secs_per_evaluation)
        parts = [
            f"stage {describe_seconds(stage_seconds_left(plan, progress.step, *measured))} left"
        ]
        run = run_seconds_left(self._plans, plan, progress.step, *measured)
        if run is not None and len(self._plans) > 1:
            parts.append(f"run about {describe_seconds(run)}")
        deadline = self._secs_to_deadline()
        if deadline is not None:
            parts.append(f"deadline in {describe_seconds(deadline)}")
        return parts

    def _renderable(self, plan: StagePlan, progress: Progress, call: "HostCall") -> Group:
        first = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=plan.num_steps, completed=progress.step, width=24)
        done = f"{progress.step}/{plan.num_steps}"
        first.add_row(Text(self._where(plan, progress), style="bold", no_wrap=True), bar, done)
        lines = ("  ".join(self._state(call)), "  ".join(self._left(plan, progress)))
        return Group(first, *(Text(line, overflow="ellipsis", no_wrap=True) for line in lines))

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)
        self._console.file.flush()


def _speed(images_per_sec: float) -> str:
    return f"{images_per_sec:.1f}" if images_per_sec < 10 else f"{images_per_sec:,.0f}"
