"""Who is let in: a bounded number of photos, and of bytes, that wait for an answer.

What is let in will be answered. So the door closes when the queue is full, and also when those
before would take so long that the time limit comes first.
"""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager

_NEWEST = 0.1
"""Weight of the newest photo, or batch, in the running time of a photo."""
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
        self.given_up = 0
        """Photos that were let in and never got an answer, because the service ended."""
        self._expected: dict[str, float] = {}
        self._paces: dict[str, float] = {}

    def expect(self, stage: str, seconds_per_photo: float) -> None:
        """Counts until the stage has had its first photo."""
        self._expected[stage] = seconds_per_photo

    def learn(self, stage: str, seconds_per_photo: float) -> None:
        """What photos pass one after the other (decoders, network) took so long for one."""
        before = self._paces.get(stage, seconds_per_photo)
        self._paces[stage] = before + _NEWEST * (seconds_per_photo - before)

    @property
    def seconds_per_photo(self) -> float:
        """Between two answers of a busy service: the pace of its slowest stage; 0 if unknown."""
        return max((self._expected | self._paces).values(), default=0.0)

    def check(self, num_photos: int = 1) -> None:
        """Raises FullError if so many photos would not be let in now.

        An empty house takes any request that fits the queue.
        """
        inside = self.photos + num_photos
        wait = inside * self.seconds_per_photo
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
        except asyncio.CancelledError:
            self.given_up += num_photos
            raise
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
        return max(1, math.ceil(self.photos * self.seconds_per_photo))
