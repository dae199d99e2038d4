"""Photos out of requests: multipart, one photo as the body, or JSON with base64."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from trainer.serving.admission import Admission
from trainer.serving.refusals import RefusalError

_HOW = (
    "send photos as files of multipart/form-data, one photo as the body with its type "
    "(image/jpeg, image/png, ..., application/octet-stream), or JSON "
    '{"photos": [{"data": "<base64>"}]}'
)
_MOST_VALUES = 100
"""Of JSON, a photo: each may take 600 bytes of memory once it is read, before anything is known
of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SentPhoto:
    """A photo as it came."""

    name: str | None
    encoded: bytes


class JsonPhoto(BaseModel):
    """A photo in JSON."""

    data: str
    """base64"""
    name: str | None = None


class JsonPhotos(BaseModel):
    """The body of a JSON request."""

    photos: list[JsonPhoto]


class BodyReader:
    """Reads one request; what it holds of it counts until `let_go`.

    Args:
        request: whose body nobody has read.
        admission: where bytes are counted.
        max_bytes: of the body.
        max_photos: in it.
        seconds: that the client may take to send it.
    """

    def __init__(
        self,
        request: Request,
        admission: Admission,
        *,
        max_bytes: int,
        max_photos: int,
        seconds: float,
    ):
        self._request = request
        self._admission = admission
        self._max_bytes = max_bytes
        self._max_photos = max_photos
        self._seconds = seconds
        self._held = 0

    async def read(self) -> list[SentPhoto]:
        """All photos, at least one.

        Raises:
            RefusalError: too large, too slow, or not understood.
            FullError: no room for so many bytes now.
        """
        self._check_head()
        try:
            async with asyncio.timeout(self._seconds):
                photos = await self._read_by_kind()
        except TimeoutError:
            raise RefusalError(
                408, f"the body did not arrive within {self._seconds:g} s; send it faster"
            ) from None
        if not photos:
            raise RefusalError(422, f"there is no photo in the request; {_HOW}")
        if len(photos) > self._max_photos:
            raise RefusalError(
                413,
                f"{len(photos)} photos in one request, at most {self._max_photos} are taken; send "
                "several requests",
            )
        return photos

    def let_go(self) -> None:
        """The body is no longer held."""
        self._admission.let_go(self._held)
        self._held = 0

    @property
    def _kind(self) -> str:
        return self._request.headers.get("content-type", "").partition(";")[0].strip().lower()

    def _check_head(self) -> None:
        headers = self._request.headers
        kind = self._kind
        known = kind in ("multipart/form-data", "application/json", "application/octet-stream")
        if not known and not kind.startswith("image/"):
            raise RefusalError(415, f"Content-Type {kind or 'missing'}; {_HOW}")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise RefusalError(415, "compressed bodies are not read; send it as it is")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._max_bytes:
            raise self._too_large()

    async def _read_by_kind(self) -> list[SentPhoto]:
        if self._kind == "multipart/form-data":
            return await self._read_multipart()
        body = b"".join([chunk async for chunk in self._chunks()])
        if self._kind == "application/json":
            return _read_json(body, self._max_photos)
        return [SentPhoto(name=None, encoded=body)] if body else []

    async def _chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, however it is sent: a length may be missing or lie."""
        async for chunk in self._request.stream():
            if self._held + len(chunk) > self._max_bytes:
                raise self._too_large()
            self._admission.hold(len(chunk))
            self._held += len(chunk)
            yield chunk

    async def _read_multipart(self) -> list[SentPhoto]:
        parser = MultiPartParser(
            self._request.headers,
            self._chunks(),  # type: ignore[arg-type]  # an iterator is enough
            max_files=self._max_photos,
            max_fields=self._max_photos,
        )
        # Never a file: there may be no disk to write to.
        parser.spool_max_size = self._max_bytes + 1
        try:
            form = await parser.parse()
        except MultiPartException as error:
            status = 413 if error.message.startswith("Too many") else 400
            raise RefusalError(status, f"{error.message} {_HOW}") from error
        photos = [
            SentPhoto(name=value.filename, encoded=await value.read())
            for _, value in form.multi_items()
            if isinstance(value, UploadFile)
        ]
        await form.close()
        return photos

    def _too_large(self) -> RefusalError:
        return RefusalError(
            413,
            f"the body has more than {self._max_bytes / 1e6:g} MB; send smaller or fewer photos",
        )


def _read_json(body: bytes, max_photos: int) -> list[SentPhoto]:
    if body.count(b",") + body.count(b"{") > _MOST_VALUES * max_photos:
        raise RefusalError(
            413, f"the JSON holds more values than {max_photos} photos can have; {_HOW}"
        )
    try:
        sent = JsonPhotos.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        status = 400 if first["type"] == "json_invalid" else 422
        raise RefusalError(status, f"{where}: {first['msg']}; {_HOW}") from error
    photos = []
    for index, photo in enumerate(sent.photos):
        try:
            encoded = base64.b64decode(photo.data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise RefusalError(422, f"photos.{index}.data is not base64 ({error})") from error
        photos.append(SentPhoto(name=photo.name, encoded=encoded))
    return photos
