"""Where the time goes: named seconds, measured between two marks that never overlap."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

LOST = "lost to restarts"
"""Work behind the last checkpoint, done again, and everything up to the first step of a restart
but the compilation."""


class TimeLedger:
    """Adds up seconds per activity until they are taken over into `Progress`.

    Args:
        started: on the clock of time.monotonic, when the process began; now by default.
    """

    def __init__(self, started: float | None = None) -> None:
        self.started = time.monotonic() if started is None else started
        self.is_restart = False
        """Until the first step: what is prepared was there before, so the time is lost."""
        self._spent: dict[str, float] = {}
        self._prepared: dict[str, float] = {}
        self._taken_at = self.started

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Counts the time of the block under `what`."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.add(what, time.monotonic() - start)

    @contextmanager
    def prepare(self, what: str) -> Iterator[None]:
        """`measure` for what leads to the next first step; `take_prepared` tells of it."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.add_prepared(what, time.monotonic() - start)

    def add_prepared(self, what: str, seconds: float) -> None:
        """Counts seconds of a preparation, in a restart as lost."""
        self._prepared[what] = self._prepared.get(what, 0.0) + seconds
        self.add(LOST if self.is_restart else what, seconds)

    def take_prepared(self) -> dict[str, float]:
        """Returns, by activity, what was prepared since the last call; the start is over then."""
        prepared, self._prepared = self._prepared, {}
        self.is_restart = False
        return prepared

    def add(self, what: str, seconds: float) -> None:
        """Counts seconds that were measured elsewhere."""
        self._spent[what] = self._spent.get(what, 0.0) + seconds

    def move(self, seconds: float, source: str, target: str) -> None:
        """Counts seconds under `target` that turned out not to belong to `source`."""
        self.add(source, -seconds)
        self.add(target, seconds)

    def counted_secs(self) -> float:
        """Seconds of all activities since the last `take`."""
        return sum(self._spent.values())

    def spent(self) -> dict[str, float]:
        """What was spent since the last `take`, which it leaves to be taken."""
        return dict(self._spent)

    def take(self) -> dict[str, float]:
        """Returns what was spent since the last call."""
        spent, self._spent = self._spent, {}
        self._taken_at = time.monotonic()
        return spent

    def add_lost(self, seconds: float) -> None:
        """Counts what an earlier process spent behind the checkpoint with which we go on."""
        self.add(LOST, seconds)
        self._taken_at -= seconds

    def unsaved_secs(self) -> float:
        """What is lost if the process is killed now."""
        return time.monotonic() - self._taken_at
