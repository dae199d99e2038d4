"""Where the time goes: named seconds, measured between two marks that never overlap."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class TimeLedger:
    """Adds up seconds per activity until they are taken over into `Progress`."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Counts the time of the block under `what`."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.add(what, time.monotonic() - start)

    def add(self, what: str, seconds: float) -> None:
        """Counts seconds that were measured elsewhere."""
        self._spent[what] = self._spent.get(what, 0.0) + seconds

    def take(self) -> dict[str, float]:
        """Returns what was spent since the last call."""
        spent, self._spent = self._spent, {}
        return spent
