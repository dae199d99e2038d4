"""What happens to the photos of a request, from the door to the answer; knows no web framework."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from trainer.serving.admission import Admission
from trainer.serving.answers import PhotoAnswer, describe_model, describe_photo
from trainer.serving.batching import Batcher
from trainer.serving.decoding import DecoderPool, UnusablePhotoError
from trainer.serving.metrics import Metrics
from trainer.serving.photos import SentPhoto
from trainer.serving.predictor import Predictor
from trainer.serving.settings import ServiceSettings


class Service:
    """A model with its door, decoders and batches.

    Args:
        predictor: loaded.
        decoders: running as long as the service does.
        settings: limits.
    """

    def __init__(self, predictor: Predictor, decoders: DecoderPool, settings: ServiceSettings):
        self.settings = settings
        self.contract = predictor.contract
        self.model = describe_model(predictor.contract)
        self.draining = False
        self.admission = Admission(
            queue=settings.queue,
            max_held_bytes=settings.max_held_bytes,
            timeout_s=settings.timeout_s,
        )
        self.metrics = Metrics(
            settings.max_batch,
            lambda: self.admission.photos,
            lambda: self.admission.seconds_per_photo,
        )
        self._batcher = Batcher(
            predictor,
            max_batch=settings.max_batch,
            max_wait_s=settings.max_wait_ms / 1000,
            on_batch=self._on_batch,
        )
        self._decoders = decoders
        decoders.on_photo = lambda seconds: self.admission.learn("decoders", seconds)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Batches are computed inside of it."""
        batches = asyncio.create_task(self._batcher.run())
        try:
            yield
        finally:
            batches.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await batches

    async def predict(
        self, photos: Sequence[SentPhoto], *, top_k: int, with_activation: bool
    ) -> list[PhotoAnswer]:
        """One answer a photo, in their order; a photo that cannot be used has a reason."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._predict_one(photo, top_k, with_activation))
                for photo in photos
            ]
        return [task.result() for task in tasks]

    async def _predict_one(self, sent: SentPhoto, top_k: int, with_activation: bool) -> PhotoAnswer:
        try:
            photo = await self._decoders.decode(sent.encoded, self.contract)
        except UnusablePhotoError as error:
            self.metrics.count_photo(error.status)
            return PhotoAnswer(name=sent.name, status=error.status, reason=str(error))
        outputs = await self._batcher.predict(photo.pixels)
        self.metrics.count_photo(200)
        return describe_photo(
            sent.name,
            photo,
            outputs,
            self.contract,
            top_k=top_k,
            with_activation=with_activation,
        )

    def _on_batch(self, num_photos: int, seconds: float) -> None:
        self.admission.learn("network", seconds / num_photos)
        self.metrics.count_batch(num_photos, seconds)
