"""Who is let in: a bounded number of photos, and of bytes, that wait for an answer.

What is let in will be answered. So the door closes when the queue is full, and also when those
before would take so long that the time limit comes first.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

_NEWEST = 0.1
"""Weight of the newest batch in the running time of a photo."""
_SHARE_OF_TIMEOUT = 0.5
"""Of the time limit, that waiting is expected to take at most; the rest is for bad luck."""


class FullError(Exception):
    """Come again.

    Attributes:
        retry_after: seconds, at least 1.
    """

    def __init__(self, retry_after: int):
        super().__init__("the service has as many photos as it can answer in time; try again")
        self.retry_after = retry_after


class Admission:
    """Counts; for one event loop, not for threads.

    Args:
        queue: photos that may be inside at once.
        max_held_bytes: of encoded photos that may be inside at once.
        timeout_s: of a request.
    """

    def __init__(self, *, queue: int, max_held_bytes: int, timeout_s: float):
        self._queue = queue
        self._max_held_bytes = max_held_bytes
        self._timeout_s = timeout_s
        self.photos = 0
        self.held_bytes = 0
        self.seconds_per_photo: float | None = None

    def learn(self, seconds: float, num_photos: int) -> None:
        """A batch took so long."""
        newest = seconds / num_photos
        before = newest if self.seconds_per_photo is None else self.seconds_per_photo
        self.seconds_per_photo = before + _NEWEST * (newest - before)

    def check(self, num_photos: int = 1) -> None:
        """Raises FullError if so many photos would not be let in now.

        An empty house takes any request that fits the queue.
        """
        inside = self.photos + num_photos
        wait = inside * (self.seconds_per_photo or 0)
        too_long = self.photos > 0 and wait > self._timeout_s * _SHARE_OF_TIMEOUT
        if inside > self._queue or too_long:
            raise FullError(self._retry_after())

    @contextmanager
    def photos_inside(self, num_photos: int) -> Iterator[None]:
        """Lets photos in, and out at the end.

        Raises:
            FullError: no room.
        """
        self.check(num_photos)
        self.photos += num_photos
        try:
            yield
        finally:
            self.photos -= num_photos

    def hold(self, num_bytes: int) -> None:
        """Takes room for bytes; `let_go` gives it back.

        Raises:
            FullError: no room; nothing was taken.
        """
        if self.held_bytes + num_bytes > self._max_held_bytes:
            raise FullError(self._retry_after())
        self.held_bytes += num_bytes

    def let_go(self, num_bytes: int) -> None:
        """Gives room back."""
        self.held_bytes -= num_bytes

    def _retry_after(self) -> int:
        return max(1, math.ceil(self.photos * (self.seconds_per_photo or 0)))
