"""Describes a finished data set from the reports of its shards: manifest and tables."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence

from tfrecords_builder.manifest import (
    SCHEMA_VERSION,
    Manifest,
    MissingRow,
    Shard,
    Split,
    Submission,
    fingerprint_of,
)
from tfrecords_builder.records import NO_LABEL
from tfrecords_builder.shard_writer import ShardReport
from tfrecords_builder.sources.base import Listing, Quarantined
from tfrecords_builder.splits import SPLIT_NAMES, SplitSettings


def all_quarantined(listing: Listing, reports: Iterable[ShardReport]) -> list[Quarantined]:
    """Returns the photos that listing or encoding left out."""
    return [*listing.quarantined, *(row for report in reports for row in report.quarantined)]


def make_manifest(
    listing: Listing,
    classes: tuple[str, ...],
    reports: Sequence[ShardReport],
    settings: SplitSettings,
) -> Manifest:
    """Returns the manifest of a data set whose shards are all written."""
    splits = {}
    for name in SPLIT_NAMES:
        of_split = [report for report in reports if report.split == name]
        if of_split:
            splits[name] = _make_split(name, of_split, len(classes))
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name="dataset",
        classes=classes,
        splits=splits,
        source={**listing.description, **listing.adjustments, **_held_out(settings)},
        seed=settings.seed,
        val_fraction=settings.val_fraction,
        submission=_make_submission(listing, reports),
        fingerprint=fingerprint_of(classes, splits),
    )


def _held_out(settings: SplitSettings) -> dict[str, str]:
    """Returns what tells the data of one fold from those of another; `val_fraction` does not."""
    if settings.num_folds is None:
        return {}
    return {"fold": f"{settings.fold} of {settings.num_folds}, counted from 0"}


def _make_split(name: str, reports: Sequence[ShardReport], num_classes: int) -> Split:
    labels = Counter(photo.label for report in reports for photo in report.photos)
    return Split(
        name=name,
        num_examples=sum(labels.values()),
        class_counts=tuple(labels[label] for label in range(num_classes)),
        labelled=labels[NO_LABEL] == 0,
        shards=tuple(
            Shard(
                file=report.file,
                num_examples=len(report.photos),
                num_bytes=report.num_bytes,
                sha256=report.sha256,
                offsets=tuple(photo.offset for photo in report.photos),
            )
            for report in reports
        ),
    )


def _make_submission(listing: Listing, reports: Iterable[ShardReport]) -> Submission | None:
    if listing.submission is None:
        return None
    without_record = {row.id: row.position for row in listing.missing}
    unusable = {
        row.id for report in reports if report.split == "test" for row in report.quarantined
    }
    if unusable:
        sample_order = _sample_order(listing)
        without_record |= {record_id: sample_order[record_id] for record_id in unusable}
    missing = sorted((position, record_id) for record_id, position in without_record.items())
    return Submission(
        id_column=listing.submission.id_column,
        label_column=listing.submission.label_column,
        missing=tuple(MissingRow(position=position, id=name) for position, name in missing),
    )


def _sample_order(listing: Listing) -> dict[str, int]:
    """Returns id -> row number in the sample submission, from the photos and the gaps."""
    gaps = {row.position: row.id for row in listing.missing}
    photos = iter([photo.id for photo in listing.photos if photo.split == "test"])
    order = {}
    num_rows = len(gaps) + sum(photo.split == "test" for photo in listing.photos)
    for position in range(num_rows):
        order[gaps[position] if position in gaps else next(photos)] = position
    return order


def records_table(reports: Iterable[ShardReport]) -> str:
    """Returns the text of `records.csv`: where every photo is and what was done to it."""
    header = ("split", "file", "id", "label", "width", "height", "fate", "changes", "locator")
    return csv_text(
        header,
        (
            (
                report.split,
                report.file,
                photo.id,
                photo.label,
                photo.width,
                photo.height,
                photo.fate,
                "; ".join(photo.changes),
                photo.locator,
            )
            for report in reports
            for photo in report.photos
        ),
    )


def quarantine_table(quarantined: Iterable[Quarantined]) -> str:
    """Returns the text of `quarantine.csv`: every photo left out, and why."""
    rows = ((row.id, row.locator, row.reason) for row in quarantined)
    return csv_text(("id", "locator", "reason"), rows)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns the text of a CSV file, the same on every system."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
