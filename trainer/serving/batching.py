"""Photos of many requests, through the network together."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from trainer.serving.predictor import Outputs, Predictor

OnBatch = Callable[[int, float], None]
_Waiting = tuple[np.ndarray, asyncio.Future[Outputs]]


class Batcher:
    """Forms batches of what waits: while one is computed, the next one gathers.

    An idle network waits `max_wait_s` for company. Who has given up is left out. `run` has to be
    running; the network lives in one thread of its own.

    Args:
        predictor: what computes.
        max_batch: > 0.
        max_wait_s: >= 0.
        on_batch: is told the size of each batch and the seconds that it took.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        max_batch: int,
        max_wait_s: float,
        on_batch: OnBatch = lambda size, seconds: None,
    ):
        self._predictor = predictor
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._on_batch = on_batch
        self._waiting: deque[_Waiting] = deque()
        self._arrival = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")

    async def predict(self, pixels: np.ndarray) -> Outputs:
        """uint8 [S, S, 3] to outputs of one photo, without the axis B.

        Raises whatever the network raised for the batch.
        """
        future: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, future))
        self._arrival.set()
        return await future

    async def run(self) -> None:
        """Works until it is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                batch = await self._next_batch()
                if batch:
                    await self._compute(loop, batch)
        finally:
            self._thread.shutdown(wait=False)

    async def _next_batch(self) -> list[_Waiting]:
        if not self._waiting:
            await self._wait_for_arrival(None)
            deadline = time.monotonic() + self._max_wait_s
            while len(self._waiting) < self._max_batch:
                left = deadline - time.monotonic()
                if left <= 0 or not await self._wait_for_arrival(left):
                    break
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self._max_batch:
            pixels, future = self._waiting.popleft()
            if not future.done():
                batch.append((pixels, future))
        return batch

    async def _wait_for_arrival(self, seconds: float | None) -> bool:
        self._arrival.clear()
        try:
            await asyncio.wait_for(self._arrival.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _compute(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[_Waiting],
    ) -> None:
        pixels = np.stack([pixels for pixels, _ in batch])
        started = time.monotonic()
        try:
            outputs = await loop.run_in_executor(self._thread, self._predictor.predict, pixels)
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        self._on_batch(len(batch), time.monotonic() - started)
        for index, (_, future) in enumerate(batch):
            if not future.done():
                future.set_result(_of_one(outputs, index))


def _of_one(outputs: Outputs, index: int) -> Outputs:
    activation = outputs.class_activation
    return Outputs(
        probabilities=outputs.probabilities[index],
        class_activation=None if activation is None else activation[index],
    )
