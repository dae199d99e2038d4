"""Writes one record file: the unit of work of every runner."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tfrecords_builder.encoding import (
    EncodedPhoto,
    EncodingSettings,
    UnusablePhotoError,
    encode_photo,
)
from tfrecords_builder.plan import ShardPlan
from tfrecords_builder.records import Record, frame_parts, make_example
from tfrecords_builder.sources.base import Photo, Quarantined, Source

WRITE_BUFFER_BYTES = 2**20


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
      path: local file to write; replaced only once it is complete.
      source: gives the bytes of the photos.
      settings: of the encoding.
      input_hash: goes into the report.
      on_photo: called after each photo.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    sha256 = hashlib.sha256()
    offset = 0
    stored: list[StoredPhoto] = []
    quarantined: list[Quarantined] = []
    with open(temporary, "wb", buffering=WRITE_BUFFER_BYTES) as file:
        for planned in shard.photos:
            photo = planned.photo
            try:
                encoded = read_and_encode(photo, source, settings)
            except UnusablePhotoError as error:
                quarantined.append(
                    Quarantined(id=photo.id, locator=photo.locator, reason=str(error))
                )
                on_photo()
                continue
            record = Record(id=photo.id, label=planned.label, image=encoded.image)
            start = offset
            for part in frame_parts(make_example(record)):
                file.write(part)
                sha256.update(part)
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
    os.replace(temporary, path)
    return ShardReport(
        file=shard.file,
        split=shard.split,
        input_hash=input_hash,
        num_bytes=offset,
        sha256=sha256.hexdigest(),
        photos=tuple(stored),
        quarantined=tuple(quarantined),
    )


def dumps_report(report: ShardReport) -> str:
    """Returns the report as JSON text."""
    return json.dumps(asdict(report), ensure_ascii=True)


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
    try:
        data = source.read(photo)
    except OSError as error:
        raise UnusablePhotoError(f"cannot be read: {error.strerror or error}") from error
    return encode_photo(data, settings, photo.box)
