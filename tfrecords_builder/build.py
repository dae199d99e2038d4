"""Builds a data set: list, plan, write the shards that are not there yet, then the manifest."""

import csv
import heapq
import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tfrecords_builder.build_folder import BuildFolder
from tfrecords_builder.encoding import (
    CONVERTED,
    EncodingSettings,
    UnusablePhotoError,
)
from tfrecords_builder.errors import UserError
from tfrecords_builder.manifest import (
    FILE_NAME,
    SCHEMA_VERSION,
    Manifest,
    MissingRow,
    Shard,
    Split,
    Submission,
    dumps_manifest,
    fingerprint_of,
)
from tfrecords_builder.plan import BuildPlan, ShardPlan, input_hash, plan_build
from tfrecords_builder.records import NO_LABEL
from tfrecords_builder.shard_writer import ShardReport, read_and_encode, write_shard
from tfrecords_builder.sources.base import Listing, Photo, Quarantined, Source
from tfrecords_builder.splits import SPLIT_NAMES, position_of
from tfrecords_builder.tfds_metadata import tfds_files
from tfrecords_builder.workers import photo_done, run_in_workers

SAMPLE_SIZE = 32
"""Photos encoded in advance to estimate sizes, where listing does not tell them."""


class BuildError(UserError):
    """The photos do not make a data set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildSettings:
    """Everything about a build that is not the source."""

    out: str
    val_fraction: float = 0.15
    seed: int = 0
    shard_mb: int = 150
    num_workers: int = 1
    encoding: EncodingSettings = field(default_factory=EncodingSettings)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """One shard to write; travels to a worker."""

    shard: ShardPlan
    input_hash: str
    folder: str
    source: Source
    encoding: EncodingSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildResult:
    """What a build did."""

    manifest: Manifest
    num_shards_written: int
    """0 where everything was there already."""
    num_converted: int
    num_quarantined: int


def build(
    source: Source,
    settings: BuildSettings,
    *,
    on_start: Callable[[int], None] = lambda total: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> BuildResult:
    """Builds or completes the data set in `settings.out`.

    Shards whose photos and settings have not changed are kept. The manifest is removed before the
    first change and written last, so a folder with a manifest is always whole.

    Args:
      source: of the photos.
      settings: of the build.
      on_start: called once with the number of photos to write.
      on_progress: called now and then with the number of photos written so far.

    Raises:
      UserError: source, settings and folder do not make a data set.
    """
    listing = source.list_photos()
    plan = plan_build(
        listing,
        val_fraction=settings.val_fraction,
        seed=settings.seed,
        shard_bytes=settings.shard_mb * 10**6,
        estimate_bytes=_size_estimator(source, listing.photos, settings),
    )
    folder = BuildFolder(settings.out)
    with folder.claimed_for(listing.description):
        tasks = _unfinished_tasks(plan, folder, source, settings)
        if tasks:
            folder.remove_manifest()
        folder.remove_shards_except({shard.file for shard in plan.shards})
        on_start(sum(len(task.shard.photos) for task in tasks))
        # The largest first, so that no worker starts a long one when the others are done.
        tasks.sort(key=lambda task: -len(task.shard.photos))
        run_in_workers(
            _write_shard, tasks, num_workers=settings.num_workers, on_progress=on_progress
        )
        reports = [_report_of(folder, shard.file) for shard in plan.shards]
        quarantined = _all_quarantined(listing, reports)
        manifest = _make_manifest(listing, plan, reports, settings)
        _check_classes(manifest, quarantined)
        _write_metadata(folder, manifest, reports, quarantined)
    fates = Counter(photo.fate for report in reports for photo in report.photos)
    return BuildResult(
        manifest=manifest,
        num_shards_written=len(tasks),
        num_converted=fates[CONVERTED],
        num_quarantined=len(quarantined),
    )


def _size_estimator(
    source: Source, photos: Sequence[Photo], settings: BuildSettings
) -> Callable[[Photo], float]:
    if settings.encoding.max_px is None:
        known = [photo.num_bytes for photo in photos if photo.num_bytes is not None]
        if len(known) == len(photos):
            return lambda photo: photo.num_bytes or 0
    sample = heapq.nsmallest(
        SAMPLE_SIZE, photos, key=lambda photo: position_of(photo.id, settings.seed, "sample")
    )
    sizes = []
    for photo in sample:
        try:
            sizes.append(len(read_and_encode(photo, source, settings.encoding).image))
        except UnusablePhotoError:
            sizes.append(0)
    mean = sum(sizes) / max(1, len(sizes))
    return lambda photo: mean


def _unfinished_tasks(
    plan: BuildPlan, folder: BuildFolder, source: Source, settings: BuildSettings
) -> list[ShardTask]:
    # Without a manifest the last build was cut short, perhaps together with the machine, and what
    # it wrote may not have reached the disk.
    check_content = folder.read_manifest() is None
    tasks = []
    for shard in plan.shards:
        shard_hash = input_hash(shard, settings.encoding)
        if folder.finished_report(shard.file, shard_hash, check_content=check_content) is None:
            tasks.append(
                ShardTask(
                    shard=shard,
                    input_hash=shard_hash,
                    folder=folder.path,
                    source=source,
                    encoding=settings.encoding,
                )
            )
    return tasks


def _write_shard(task: ShardTask) -> None:
    folder = BuildFolder(task.folder)
    report = write_shard(
        task.shard,
        folder.file(task.shard.file),
        source=task.source,
        settings=task.encoding,
        input_hash=task.input_hash,
        on_photo=photo_done,
    )
    folder.write_report(report)


def _report_of(folder: BuildFolder, name: str) -> ShardReport:
    report = folder.read_report(name)
    if report is None:
        raise BuildError(
            f"the report of {name} is gone although it was just written; "
            "let nothing else write into the folder and start again"
        )
    return report


def _all_quarantined(listing: Listing, reports: Iterable[ShardReport]) -> list[Quarantined]:
    return [*listing.quarantined, *(row for report in reports for row in report.quarantined)]


def _make_manifest(
    listing: Listing, plan: BuildPlan, reports: Sequence[ShardReport], settings: BuildSettings
) -> Manifest:
    splits = {}
    for name in SPLIT_NAMES:
        of_split = [report for report in reports if report.split == name]
        if of_split:
            splits[name] = _make_split(name, of_split, len(plan.classes))
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name="dataset",
        classes=plan.classes,
        splits=splits,
        source=dict(listing.description),
        seed=settings.seed,
        val_fraction=settings.val_fraction,
        submission=_make_submission(listing, reports),
        fingerprint=fingerprint_of(plan.classes, splits),
    )


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


def _check_classes(manifest: Manifest, quarantined: Sequence[Quarantined]) -> None:
    train = manifest.splits.get("train")
    counts = train.class_counts if train else (0,) * len(manifest.classes)
    empty = [name for name, count in zip(manifest.classes, counts, strict=True) if count == 0]
    if not empty:
        return
    reasons = Counter(row.reason for row in quarantined).most_common(1)
    why = f"; most frequent reason: {reasons[0][0]!r}" if reasons else ""
    raise BuildError(
        f"class {empty[0]!r} has no usable photo to train on ({len(quarantined)} photos left out"
        f"{why}); add photos or take the class out"
    )


def _write_metadata(
    folder: BuildFolder,
    manifest: Manifest,
    reports: Iterable[ShardReport],
    quarantined: Iterable[Quarantined],
) -> None:
    text = dumps_manifest(manifest)
    if folder.read_manifest() == text:
        return
    folder.remove_manifest()
    for name, content in tfds_files(manifest).items():
        folder.write_text(name, content)
    folder.write_text("records.csv", _records_table(reports))
    folder.write_text(
        "quarantine.csv",
        _table(
            ("id", "locator", "reason"),
            ((row.id, row.locator, row.reason) for row in quarantined),
        ),
    )
    folder.write_text(FILE_NAME, text)


def _records_table(reports: Iterable[ShardReport]) -> str:
    header = ("split", "file", "id", "label", "width", "height", "fate", "changes", "locator")
    return _table(
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


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
