"""How long the parts of a stage take: for the ledger, the first step's line and the deadline."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.engine.ledger import TimeLedger

_DEADLINE_MARGIN = 1.5


class StageTimes:
    """Of one stage in one start.

    Args:
        ledger: counts what is measured here.
        preparing_since: on the clock of time.monotonic: when what leads to the first step began.
        began: on that clock: when this stage did.

    Attributes:
        is_first_call: whether the next host call is the first one: the compilation is in it.
    """

    def __init__(self, ledger: TimeLedger, preparing_since: float, began: float):
        self.is_first_call = True
        self._ledger = ledger
        self._preparing_since = preparing_since
        self._began = began
        self._beginning_secs = 0.0
        self._longest_call_secs = 0.0
        self._evaluation_secs: list[float] = []
        self._compile_secs: float | None = None
        """Of the first host call, until the next one tells what of it was the step itself."""

    def count_call(self, seconds: float, input_wait_secs: float, num_steps: int) -> None:
        """Counts a host call of some steps; for `input_wait_secs` of it the devices had no batch.

        The first one is one step and its compilation, the others are steps alone.
        """
        computing = seconds - input_wait_secs
        self._ledger.add("input wait", input_wait_secs)
        self._ledger.add("compile" if self.is_first_call else "step", computing)
        if self.is_first_call:
            self._compile_secs = computing
        else:
            self._longest_call_secs = max(self._longest_call_secs, seconds)
            if self._compile_secs is not None:
                step_secs = min(computing / num_steps, self._compile_secs)
                self._ledger.move(step_secs, "compile", "step")
                self._compile_secs = None
        self.is_first_call = False

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Counts the block as an evaluation; what the first one took beyond the second compiled."""
        start = time.monotonic()
        with self._ledger.measure("evaluate"):
            yield
        self._evaluation_secs.append(time.monotonic() - start)
        if len(self._evaluation_secs) == 2:
            first, second = self._evaluation_secs
            self._ledger.move(max(0.0, first - second), "evaluate", "compile")

    def to_first_step(self, call: str, call_secs: float, input_wait_secs: float) -> str:
        """Says how long the first step took to come and what that time was made of."""
        now = time.monotonic()
        prepared = self._ledger.take_prepared()
        self._beginning_secs = now - self._began - prepared.get("features", 0.0)
        if self._evaluation_secs:
            prepared["evaluation"] = self._evaluation_secs[0]
        prepared |= {"input wait": input_wait_secs, call: call_secs - input_wait_secs}
        parts = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in prepared.items())
        return f"{now - self._preparing_since:.1f} s: {parts}"

    def secs_to_begin(self, write_secs: float) -> float:
        """What beginning a stage and ending in order may take, from what it took in this one."""
        return _DEADLINE_MARGIN * self._beginning_secs + self.secs_to_finish(write_secs)

    def secs_to_finish(self, write_secs: float) -> float:
        """What ending in order may still take, from what it took so far in this stage.

        Args:
            write_secs: the longest time that a checkpoint took to be written.
        """
        longest_evaluation = max(self._evaluation_secs, default=0.0)
        return _DEADLINE_MARGIN * (self._longest_call_secs + longest_evaluation + write_secs)
