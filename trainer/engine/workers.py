"""What several processes of one run must decide alike: each has its own clock and its own signals.

A process that leaves the loop alone, or makes another number of steps in a host call, leaves the
others waiting in a collective for ever. So whatever depends on time, on a signal or on the disk
of one machine is exchanged first; it costs about 3 ms between two processes of one machine.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import tensorflow as tf

from trainer.devices import is_chief, num_workers
from trainer.errors import ClusterError, RunFolderError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What all workers do after a host call."""

    stops: bool
    """Some worker was told to stop."""
    saves: bool
    """The chief's clock says that a checkpoint is due."""
    num_steps: int
    """Steps of the next host call, as the chief measured its speed."""


class Workers:
    """The processes of a run; alone, everything here returns what it was given.

    Every method is a collective: all workers must call the same ones in the same order.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        self._num_workers = num_workers(strategy)
        self._is_chief = is_chief(strategy)
        # In one function: outside of it, gather is traced anew every time, 0.2 s each.
        self._gather = tf.function(
            lambda row: strategy.gather(strategy.run(tf.identity, args=(row,)), axis=0),
            autograph=False,
        )

    def gather(self, *numbers: int) -> np.ndarray:
        """int64 [workers, len(numbers)]: what each worker says, the chief first."""
        row = np.array([numbers], np.int64)
        if self._num_workers == 1:
            return row
        rows = np.asarray(self._gather(tf.constant(row)))
        # Every replica of a worker says the same.
        return rows[:: len(rows) // self._num_workers]

    def agree(self, verdict: Verdict) -> Verdict:
        """Stop if any worker wants to; the rest as the chief says."""
        rows = self.gather(verdict.stops, verdict.saves, verdict.num_steps)
        return Verdict(
            stops=bool(rows[:, 0].any()), saves=bool(rows[0, 1]), num_steps=int(rows[0, 2])
        )

    def any(self, own: bool) -> bool:
        """Whether it holds on some worker."""
        return bool(self.gather(own).any())

    def wait(self) -> None:
        """Returns when every worker has come here."""
        self.gather(0)

    def chief_first(self, action: Callable[[], T]) -> T:
        """Does `action` on the chief, then on the others, then goes on everywhere.

        For work on shared files that the chief creates and the others find. An error of one does
        not keep the others waiting.
        """
        if not self._is_chief:
            self.wait()
        try:
            return action()
        finally:
            if self._is_chief:
                self.wait()
            self.wait()

    @contextmanager
    def names_a_lost_worker(self) -> Iterator[None]:
        """Turns what TensorFlow raises when a process of the run is gone into ClusterError."""
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as e:
            if self._num_workers == 1:
                raise
            found = re.search(r"aborted by: (.+)", str(e))
            reason = found[1] if found else str(e).split("}} ", 1)[-1].splitlines()[0]
            raise ClusterError(
                f"another worker is gone ({reason}); need all {self._num_workers} of them; start "
                "all again, they go on from the last checkpoint"
            ) from e

    def require_same(self, what: str, value: str, remedy: str) -> None:
        """Raises RunFolderError unless `value` is the same on every worker."""
        digest = hashlib.sha256(value.encode()).digest()[:8]
        rows = self.gather(int.from_bytes(digest, "little", signed=True))[:, 0]
        others = [index for index, row in enumerate(rows) if row != rows[0]]
        if others:
            raise RunFolderError(
                f"worker{'s' if len(others) > 1 else ''} {', '.join(map(str, others))} of "
                f"{len(rows)} differ from worker 0 in {what}; need the same on all; {remedy}"
            )
