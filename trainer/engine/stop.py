"""When to stop before the end: SIGTERM, or a deadline counted from the start of the process."""

import os
import re
import signal
import time
from types import FrameType

import psutil

from trainer.errors import RecipeError

JOB_START_VARIABLE = "TRAINER_JOB_START"
"""Environment: when the job began, in seconds since 1970; who restarts us sets it, so that our
deadline is that of the job."""
_UNITS = {"h": 3600, "m": 60, "s": 1}


def parse_duration(text: str) -> float:
    """`8h40m`, `90m`, `30s` or plain seconds, in seconds.

    Raises:
        RecipeError: something else.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+)([hms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise RecipeError(
            f"duration {text!r} is not understood; need for example 8h40m, 90m or 30s; write it so"
        )
    return float(sum(int(number) * _UNITS[unit] for number, unit in parts))


class StopSignal:
    """Asked between steps whether to stop; installs a handler for SIGTERM.

    Args:
        deadline_secs: seconds after the start of this process, or of the job that it belongs to
            (JOB_START_VARIABLE), at which everything must be done; None for no deadline.
    """

    def __init__(self, deadline_secs: float | None):
        self._terminated = False
        # The wall clock is read once: later jumps of it must not end, or prolong, a run.
        start = os.environ.get(JOB_START_VARIABLE)
        age = time.time() - psutil.Process().create_time()
        elapsed = time.time() - float(start) if start else age
        self.process_started = time.monotonic() - max(0.0, age)
        """On the clock of time.monotonic."""
        self._deadline = (
            None if deadline_secs is None else time.monotonic() + deadline_secs - elapsed
        )
        self._listen()

    def hold(self) -> None:
        """Keeps a SIGTERM waiting until `release`.

        TensorFlow 2.21 puts a handler of its own in our place when it makes a strategy of several
        workers, and swallows what comes until we take it back. Call before other threads exist (so
        before NumPy and TensorFlow are imported): a signal goes to any thread that takes it.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def release(self) -> None:
        """Takes SIGTERM, again if need be, and what has waited."""
        self._listen()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _listen(self) -> None:
        signal.signal(signal.SIGTERM, self._on_sigterm)

    def reason(self, secs_to_finish: float) -> str | None:
        """Why to stop now, if `secs_to_finish` are still needed to save and end; None to go on."""
        if self._terminated:
            return "SIGTERM"
        if self._deadline is not None and time.monotonic() + secs_to_finish >= self._deadline:
            return "deadline"
        return None

    def secs_left(self) -> float | None:
        """Seconds to the deadline; None without one."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True
