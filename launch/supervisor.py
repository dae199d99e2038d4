"""Keeps the workers of a run going: all together, until they are done or cannot go on."""

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

from launch.processes import Processes, free_ports, worker_environments
from tfrecords_builder.command_line import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, EXIT_USER_ERROR
from trainer.engine.stop import JOB_START_VARIABLE
from trainer.errors import ClusterError, Preempted, TrainingError

EXIT_DONE = 0
EXIT_STOPPED = Preempted.exit_code
EXIT_LOST = ClusterError.exit_code
"""A worker that saw another one go: a consequence, told only if nothing else is known."""
_FINAL = (EXIT_USER_ERROR, TrainingError.exit_code, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE)
"""The user's mistake, training that cannot go on, Ctrl-C, nobody who reads the output: starting
again would not help."""
_POLL_SECS = 0.1
_LINGER_SECS = 5.0
"""What workers get to notice that one of them crashed, and to say so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SupervisorSettings:
    """The flags of `launch.local`; see there."""

    num_workers: int = 1
    max_restarts: int = 5
    restarts_stopped: bool = False
    stop_secs: float = 60.0
    gpus_per_worker: int | None = None


def outcome(codes: Sequence[int]) -> int:
    """One exit code for a group of workers: what keeps it from going on, else a crash, else 75, 0.

    A process that a signal killed counts as 128 + its number, as in a shell.
    """
    for wanted in _FINAL:
        if wanted in codes:
            return wanted
    crashes = [code for code in codes if code not in (EXIT_DONE, EXIT_STOPPED)]
    if crashes:
        code = min(crashes, key=lambda code: code == EXIT_LOST)
        return 128 - code if code < 0 else code
    return EXIT_STOPPED if EXIT_STOPPED in codes else EXIT_DONE


def restarts(code: int, restarts_stopped: bool) -> bool:
    """Whether starting all workers again after this outcome may help."""
    if code == EXIT_STOPPED:
        return restarts_stopped
    return code not in (EXIT_DONE, *_FINAL)


class Supervisor:
    """Runs a command as N workers and starts them again after a crash.

    SIGTERM and Ctrl-C are passed on as SIGTERM, so that the workers save; a second Ctrl-C kills.
    Where our own output breaks off (`| head`), they get it, too.

    Args:
        command: of one worker; all get the same.
    """

    def __init__(self, command: Sequence[str], settings: SupervisorSettings):
        self._command = list(command)
        self._settings = settings
        self._stopped_by: signal.Signals | None = None
        self._kills = False
        self._output_error: OSError | None = None

    def run(self) -> int:
        """Returns the exit code: of the workers, 75 after SIGTERM, 130 after Ctrl-C.

        Raises:
            OSError: our output takes no more; the workers were told to save and have ended.
        """
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._on_signal) for number in numbers}
        started = time.time()
        num_restarts = 0
        try:
            while True:
                code, reason = self._run_once(started)
                if self._output_error is not None:
                    raise self._output_error
                if self._stopped_by is not None:
                    return self._stopped_code(code)
                if not restarts(code, self._settings.restarts_stopped):
                    return code
                if num_restarts == self._settings.max_restarts:
                    _say(f"{reason}; given up after {num_restarts} restarts (--max_restarts)")
                    return code
                num_restarts += 1
                _say(
                    f"{reason}; starting again from the last checkpoint "
                    f"(restart {num_restarts} of {self._settings.max_restarts})"
                )
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run_once(self, started: float) -> tuple[int, str]:
        """One start of all workers to their end: its outcome, and what happened in words."""
        settings = self._settings
        environments = worker_environments(
            settings.num_workers,
            free_ports(settings.num_workers),
            len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
            settings.gpus_per_worker,
        )
        if not settings.restarts_stopped:
            # A deadline counts from the first start; else a crash would make the job longer.
            environments = [{**each, JOB_START_VARIABLE: f"{started:.3f}"} for each in environments]
        processes = Processes(self._command, environments)
        told, end_by = False, math.inf
        try:
            while None in (codes := processes.codes()):
                processes.pump(_POLL_SECS)
                self._output_error = processes.output_error
                if self._is_stopping() and not told:
                    processes.send(signal.SIGTERM)
                    told = True
                end_by = min(end_by, time.monotonic() + self._patience(codes))
                if self._kills or time.monotonic() >= end_by:
                    break
        finally:
            # Those that we kill now are not why it ended.
            codes = processes.codes()
            processes.close()
        ended = {index: code for index, code in enumerate(codes) if code is not None}
        return outcome(list(ended.values())) if ended else EXIT_STOPPED, _describe(ended)

    def _is_stopping(self) -> bool:
        return self._stopped_by is not None or self._output_error is not None

    def _patience(self, codes: Sequence[int | None]) -> float:
        """Seconds from now on after which the rest is killed; infinite while all is well."""
        ended = {code for code in codes if code is not None}
        if ended - {EXIT_DONE, EXIT_STOPPED, *_FINAL}:
            return _LINGER_SECS
        # Some may still be writing the last checkpoint, or hang because the others are gone.
        if self._is_stopping() or ended - {EXIT_DONE}:
            return self._settings.stop_secs
        return math.inf

    def _stopped_code(self, code: int) -> int:
        if code in (EXIT_DONE, *_FINAL):
            return code
        return EXIT_STOPPED if self._stopped_by == signal.SIGTERM else EXIT_INTERRUPTED

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stopped_by is None:
            self._stopped_by = signal.Signals(number)
            _say(f"{self._stopped_by.name}: the workers save and end; Ctrl-C again kills them")
        elif number == signal.SIGINT:
            self._kills = True


def _describe(codes: dict[int, int]) -> str:
    """`worker 1 was killed by SIGKILL`: the crashed one if there is one, else the first."""
    crashed = [index for index, code in codes.items() if code not in (EXIT_DONE, EXIT_STOPPED)]
    crashed.sort(key=lambda index: codes[index] == EXIT_LOST)
    index = crashed[0] if crashed else next(iter(codes), 0)
    code = codes.get(index, EXIT_STOPPED)
    if code < 0:
        return f"worker {index} was killed by {signal.Signals(-code).name}"
    return f"worker {index} ended with exit code {code}"


def _say(text: str) -> None:
    # Whether somebody reads it must not decide what becomes of the workers.
    with contextlib.suppress(OSError):
        print(f"launch.local: {text}", file=sys.stderr, flush=True)
