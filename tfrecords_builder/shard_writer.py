"""Writes one record file: the unit of work of every runner."""

import functools
import hashlib
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

from tfrecords_builder import storage
from tfrecords_builder.encoding import (
    EncodedPhoto,
    EncodingSettings,
    UnusablePhotoError,
    encode_photo,
)
from tfrecords_builder.manifest import fields_of
from tfrecords_builder.plan import PlannedPhoto, ShardPlan
from tfrecords_builder.records import Record, framed_record
from tfrecords_builder.sources.base import Photo, Quarantined, Source

WRITE_BYTES = 2**20
"""At least so many are written and hashed at once."""
UNREADABLE = "cannot be read"
"""Begins the reason of photos whose bytes did not come: they are asked for again by every build."""
READ_AHEAD = 16
"""Photos that a worker fetches at the same time from Cloud Storage."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPhoto:
    """One record as written."""

    id: str
    label: int
    offset: int
    width: int
    height: int
    fate: str
    changes: tuple[str, ...]
    locator: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardReport:
    """One record file as written, and the photos that were left out of it."""

    file: str
    split: str
    input_hash: str
    num_bytes: int
    sha256: str
    photos: tuple[StoredPhoto, ...]
    quarantined: tuple[Quarantined, ...]


def write_shard(
    shard: ShardPlan,
    path: str,
    *,
    source: Source,
    settings: EncodingSettings,
    input_hash: str,
    on_photo: Callable[[], None] = lambda: None,
) -> ShardReport:
    """Reads, encodes and writes the photos of one shard, in order, and reports what it did.

    Args:
      shard: what to write.
      path: local or `gs://` file to write; replaced only once it is complete.
      source: gives the bytes of the photos.
      settings: of the encoding.
      input_hash: goes into the report.
      on_photo: called after each photo.
    """
    offset = 0
    stored: list[StoredPhoto] = []
    quarantined: list[Quarantined] = []
    with (
        storage.place_for(path) as temporary,
        open(temporary, "wb", WRITE_BYTES) as opened,
        _HashedFile(opened) as file,
    ):
        for planned, read in _read_ahead(shard.photos, source):
            photo = planned.photo
            try:
                encoded = _encode(read, photo, settings)
            except UnusablePhotoError as error:
                quarantined.append(
                    Quarantined(id=photo.id, locator=photo.locator, reason=str(error))
                )
                on_photo()
                continue
            record = Record(id=photo.id, label=planned.label, image=encoded.image)
            start = offset
            for part in framed_record(record):
                file.write(part)
                offset += len(part)
            stored.append(
                StoredPhoto(
                    id=photo.id,
                    label=planned.label,
                    offset=start,
                    width=encoded.width,
                    height=encoded.height,
                    fate=encoded.fate,
                    changes=encoded.changes,
                    locator=photo.locator,
                )
            )
            on_photo()
    return ShardReport(
        file=shard.file,
        split=shard.split,
        input_hash=input_hash,
        num_bytes=offset,
        sha256=file.sha256.hexdigest(),
        photos=tuple(stored),
        quarantined=tuple(quarantined),
    )


class _HashedFile:
    """Writes and hashes in a thread of its own, while the next photos are read.

    Both leave Python to others meanwhile; together they are 40 % of the work on a photo that keeps
    its bytes unchecked.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.sha256 = hashlib.sha256()
        self._file = file
        self._parts: list[bytes] = []
        self._num_bytes = 0
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def write(self, part: bytes) -> None:
        self._parts.append(part)
        self._num_bytes += len(part)
        if self._num_bytes >= WRITE_BYTES:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._pending is not None:
            self._pending.result()  # Raises what went wrong, such as a full disk.
        self._pending = self._thread.submit(self._write_and_hash, self._parts)
        self._parts, self._num_bytes = [], 0

    def _write_and_hash(self, parts: list[bytes]) -> None:
        # Not joined first: fresh memory for every mebibyte costs as much as half of the hashing.
        self._file.writelines(parts)
        for part in parts:
            self.sha256.update(part)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        with self._thread:
            if error is None:
                self._hand_over()
                assert self._pending is not None, "just handed over"
                self._pending.result()


def dumps_report(report: ShardReport) -> str:
    """Returns the report as JSON text."""
    return json.dumps(report, default=fields_of)


def parse_report(text: str) -> ShardReport:
    """Reads what `dumps_report` wrote.

    Raises:
      ValueError: the text is something else.
    """
    try:
        fields: dict[str, Any] = json.loads(text)
        photos = tuple(
            StoredPhoto(**{**photo, "changes": tuple(photo["changes"])})
            for photo in fields["photos"]
        )
        quarantined = tuple(Quarantined(**row) for row in fields["quarantined"])
        return ShardReport(**{**fields, "photos": photos, "quarantined": quarantined})
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a shard report: {error!r}") from error


def read_and_encode(photo: Photo, source: Source, settings: EncodingSettings) -> EncodedPhoto:
    """Returns one photo as it is to be stored.

    Raises:
      UnusablePhotoError: it cannot be read or used.
    """
    return _encode(lambda: source.read(photo), photo, settings)


def _encode(read: Callable[[], bytes], photo: Photo, settings: EncodingSettings) -> EncodedPhoto:
    try:
        data = read()
    except OSError as error:
        raise UnusablePhotoError(f"{UNREADABLE}: {error.strerror or error}") from error
    return encode_photo(data, settings, photo.box)


def _read_ahead(
    photos: Sequence[PlannedPhoto], source: Source
) -> Iterator[tuple[PlannedPhoto, Callable[[], bytes]]]:
    """Yields every photo with a function that returns its bytes.

    Photos of Cloud Storage are fetched by threads in advance: each waits most of its time.
    """
    if not any(storage.is_remote(planned.photo.locator) for planned in photos[:1]):
        for planned in photos:
            yield planned, functools.partial(source.read, planned.photo)
        return
    with ThreadPoolExecutor(READ_AHEAD) as threads:
        upcoming = iter(photos)
        fetched = deque(
            (planned, threads.submit(source.read, planned.photo))
            for planned in itertools.islice(upcoming, READ_AHEAD)
        )
        while fetched:
            planned, future = fetched.popleft()
            yield planned, future.result
            following = next(upcoming, None)
            if following is not None:
                fetched.append((following, threads.submit(source.read, following.photo)))
