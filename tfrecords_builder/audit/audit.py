"""Audits a source: every photo inspected by workers, duplicates found, results written."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tfrecords_builder import storage
from tfrecords_builder.audit.duplicates import DuplicateGroup, find_duplicates
from tfrecords_builder.audit.inspection import PhotoFacts, inspect_photo, make_thumbnail
from tfrecords_builder.audit.report import (
    MAX_GROUPS_SHOWN,
    MAX_MEMBERS_SHOWN,
    dumps_summary,
    exclusion_table,
    group_table,
    render_page,
    summarize,
)
from tfrecords_builder.build_folder import refuse_among_photos
from tfrecords_builder.sources.base import Photo, Source
from tfrecords_builder.splits import SplitError, SplitSettings, assign_splits, position_of
from tfrecords_builder.workers import photo_done, run_in_workers

CHUNK_SIZE = 64
CONTACT_SHEET_SIZE = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditSettings:
    """How to audit."""

    out: str
    """Folder for the results."""
    split: SplitSettings
    """The splits that the build will make, so that leaks between them show."""
    max_distance: int = 4
    """Bits of 64 by which near duplicates may differ."""
    num_workers: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chunk:
    source: Source
    photos: tuple[tuple[Photo, str], ...]
    """With the split of each."""


def audit(
    source: Source,
    settings: AuditSettings,
    *,
    on_start: Callable[[int], None] = lambda total: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Inspects every photo and writes audit.json, audit.html, exclude.csv and groups.csv.

    Returns:
      The content of audit.json.

    Raises:
      UserError: the source cannot be listed, or the folder not be written or lies among the photos.
    """
    listing = source.list_photos()
    refuse_among_photos(settings.out, listing.description)
    storage.make_folder_of(storage.join(settings.out, "audit.json"))
    try:
        splits = assign_splits(listing.photos, settings.split)
    except SplitError:
        # An audit is for photos that are not yet fit to be built from.
        splits = [photo.split or "train" for photo in listing.photos]
    on_start(len(listing.photos))
    with_split = list(zip(listing.photos, splits, strict=True))
    chunks = _chunks(source, with_split)
    results = run_in_workers(
        _inspect_chunk, chunks, num_workers=settings.num_workers, on_progress=on_progress
    )
    of_photos = list(itertools.chain.from_iterable(results))
    facts = [*of_photos, *map(_left_out, listing.quarantined)]
    groups = find_duplicates(facts, settings.max_distance)
    sheets = _contact_sheets(facts)
    thumbnails = _make_thumbnails(source, with_split, sheets, groups, settings.num_workers)
    summary = summarize(facts, groups, listing.description)
    for name, text in {
        "audit.json": dumps_summary(summary),
        "audit.html": render_page(summary, groups, sheets, thumbnails),
        # What listing leaves out, the build leaves out too.
        "exclude.csv": exclusion_table(of_photos),
        "groups.csv": group_table(groups),
    }.items():
        data = text.encode("utf-8", "backslashreplace")  # File names may be no UTF-8.
        storage.write_bytes(storage.join(settings.out, name), data)
    return summary


def _chunks(source: Source, photos: Sequence[tuple[Photo, str]]) -> list[_Chunk]:
    return [
        _Chunk(source=source, photos=tuple(photos[start : start + CHUNK_SIZE]))
        for start in range(0, len(photos), CHUNK_SIZE)
    ]


def _inspect_chunk(chunk: _Chunk) -> list[PhotoFacts]:
    facts = []
    for photo, split in chunk.photos:
        try:
            data = chunk.source.read(photo)
        except OSError as error:
            facts.append(_broken(photo.id, photo.class_name, split, str(error)))
        else:
            facts.append(
                inspect_photo(data, photo_id=photo.id, class_name=photo.class_name, split=split)
            )
        photo_done()
    return facts


def _left_out(row: Any) -> PhotoFacts:
    return _broken(row.id, None, "train", row.reason)


def _broken(photo_id: str, class_name: str | None, split: str, detail: str) -> PhotoFacts:
    return PhotoFacts(
        id=photo_id, class_name=class_name, split=split, problems=("broken",), detail=detail
    )


def _contact_sheets(facts: Iterable[PhotoFacts]) -> dict[str, list[PhotoFacts]]:
    by_class = defaultdict(list)
    for photo in facts:
        if photo.width:
            by_class[photo.class_name or "(no label)"].append(photo)
    return {
        name: sorted(photos, key=lambda photo: position_of(photo.id, 0, "sheet"))[
            :CONTACT_SHEET_SIZE
        ]
        for name, photos in by_class.items()
    }


def _make_thumbnails(
    source: Source,
    photos: Sequence[tuple[Photo, str]],
    sheets: dict[str, list[PhotoFacts]],
    groups: Sequence[DuplicateGroup],
    num_workers: int,
) -> dict[str, bytes]:
    wanted = {photo.id for sheet in sheets.values() for photo in sheet}
    for group in groups[:MAX_GROUPS_SHOWN]:
        wanted |= {photo.id for photo in group.members[:MAX_MEMBERS_SHOWN]}
    chunks = _chunks(source, [row for row in photos if row[0].id in wanted])
    results = run_in_workers(_thumbnail_chunk, chunks, num_workers=num_workers)
    return dict(itertools.chain.from_iterable(results))


def _thumbnail_chunk(chunk: _Chunk) -> list[tuple[str, bytes]]:
    thumbnails = []
    for photo, _ in chunk.photos:
        try:
            thumbnail = make_thumbnail(chunk.source.read(photo))
        except OSError:
            continue  # The inspection has reported it.
        if thumbnail is not None:
            thumbnails.append((photo.id, thumbnail))
    return thumbnails
