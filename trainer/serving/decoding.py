"""Photos to pixels, in processes that can be ended."""

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from trainer.exporting.contract import Contract, PreparedPhoto
from trainer.serving.decoder import FRAME

_ROOT = str(Path(__file__).resolve().parents[2])
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from trainer.serving.decoder import main; "
    "main(int(sys.argv[2]), int(sys.argv[3]))"
)


class UnusablePhotoError(Exception):
    """The message is the reason, fit to be shown to who sent the photo.

    Attributes:
        status: of HTTP: 413 too large, 422 damaged or no photo, 503 no fault of the photo.
    """

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderLimits:
    """What a photo may take."""

    max_pixels: int
    """That it may declare."""
    decoder_mb: int
    """Memory beyond that of the idle process, in MB."""
    timeout_s: float


class DecoderPool:
    """Some decoding processes; one that hangs or dies is replaced, at the price of its photo.

    They know no model, so they can start before it does. The processes live in `async with`.

    Attributes:
        on_photo: is told how many seconds each photo kept all decoders from the others.
    """

    def __init__(self, limits: DecoderLimits, num_decoders: int):
        self.on_photo: Callable[[float], None] = lambda seconds: None
        self._decoders = [
            _Decoder(limits, lambda seconds: self.on_photo(seconds / num_decoders))
            for _ in range(num_decoders)
        ]
        self._idle: asyncio.LifoQueue[_Decoder] = asyncio.LifoQueue()
        for decoder in self._decoders:
            self._idle.put_nowait(decoder)

    async def __aenter__(self) -> Self:
        """Starts the processes; does not wait until they can work."""
        for decoder in self._decoders:
            await decoder.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ends the processes."""
        for decoder in self._decoders:
            await decoder.stop()

    async def decode(self, encoded: bytes, contract: Contract) -> PreparedPhoto:
        """Decodes a photo for the file of a contract as soon as a process is free.

        Raises:
            UnusablePhotoError: it cannot be used, whatever the cause.
        """
        decoder = await self._idle.get()
        try:
            return await decoder.decode(encoded, contract)
        finally:
            self._idle.put_nowait(decoder)


class _Decoder:
    def __init__(self, limits: DecoderLimits, on_photo: Callable[[float], None]):
        self._limits = limits
        self._on_photo = on_photo
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> asyncio.subprocess.Process:
        """Starts the process unless it runs."""
        if self._process is None or self._process.returncode is not None:
            # Out of reach of a Ctrl-C that is meant for us; it ends when its input does.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", _START, _ROOT),
                *(str(self._limits.max_pixels), str(self._limits.decoder_mb)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        return self._process

    async def decode(self, encoded: bytes, contract: Contract) -> PreparedPhoto:
        side = contract.image_px
        wanted = {"geometry": asdict(contract.geometry), "image_px": side}
        try:
            process = await self.start()
        except OSError as error:
            reason = f"no decoder can be started ({error.strerror}); try again"
            raise UnusablePhotoError(503, reason) from error
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                self._send(process, wanted, encoded)
                head, body = await self._receive(process)
        except TimeoutError:
            await self.stop()
            seconds = self._limits.timeout_s
            self._on_photo(seconds)
            raise UnusablePhotoError(422, f"takes more than {seconds:g} s to decode") from None
        except (OSError, asyncio.IncompleteReadError):
            await self.stop()
            raise UnusablePhotoError(422, "damaged: the decoder broke down on it") from None
        except BaseException:
            # Nobody waits any more; its answer must not be taken for that of the next photo.
            await self.stop()
            raise
        self._on_photo(head["seconds"])
        if "status" in head:
            raise UnusablePhotoError(head["status"], head["reason"])
        return PreparedPhoto(
            pixels=np.frombuffer(body, np.uint8).reshape(side, side, 3),
            width=head["width"],
            height=head["height"],
            box=tuple(head["box"]),
        )

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            # Not wait(), which never returns while there is output that nobody reads.
            await process.communicate()

    def _send(self, process: asyncio.subprocess.Process, head: dict[str, Any], body: bytes) -> None:
        assert process.stdin is not None, "a pipe"
        encoded = json.dumps(head).encode()
        process.stdin.write(FRAME.pack(len(encoded), len(body)) + encoded)
        process.stdin.write(body)

    async def _receive(self, process: asyncio.subprocess.Process) -> tuple[dict[str, Any], bytes]:
        assert process.stdout is not None, "a pipe"
        head_bytes, body_bytes = FRAME.unpack(await process.stdout.readexactly(FRAME.size))
        head = json.loads(await process.stdout.readexactly(head_bytes))
        return head, await process.stdout.readexactly(body_bytes)
