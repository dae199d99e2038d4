"""Builds a data set: list, plan, write the shards that are not there yet, then the manifest."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tfrecords_builder import storage
from tfrecords_builder.build_folder import BuildFolder
from tfrecords_builder.description import (
    all_quarantined,
    make_manifest,
    quarantine_table,
    records_table,
)
from tfrecords_builder.encoding import (
    CONVERTED,
    ENCODING_VERSION,
    EncodingSettings,
    UnusablePhotoError,
)
from tfrecords_builder.errors import UserError
from tfrecords_builder.manifest import (
    FILE_NAME,
    Manifest,
    dumps_manifest,
)
from tfrecords_builder.plan import BuildPlan, ShardPlan, input_hash, plan_build
from tfrecords_builder.shard_writer import ShardReport, read_and_encode, write_shard
from tfrecords_builder.sources.base import Photo, Quarantined, Source
from tfrecords_builder.splits import SplitSettings, position_of
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
    split: SplitSettings = field(default_factory=SplitSettings)
    keep_splits_of: str | None = None
    """Data folder of an earlier build; its photos stay on their side."""
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
    changes: dict[str, int]
    """What was done to converted photos, and how often, the most frequent first."""
    num_quarantined: int


def build(
    source: Source,
    settings: BuildSettings,
    *,
    on_start: Callable[[int], None] = lambda total: None,
    on_progress: Callable[[int], None] = lambda done: None,
    run_tasks: Callable[[Sequence[ShardTask]], None] | None = None,
) -> BuildResult:
    """Builds or completes the data set in `settings.out`.

    Shards whose photos and settings have not changed are kept. The manifest is removed before the
    first change and written last, so a folder with a manifest is always whole.

    Args:
      source: of the photos.
      settings: of the build.
      on_start: called once with the number of photos to write.
      on_progress: called now and then with the number of photos written so far.
      run_tasks: calls `write_shard_task` for every task; None does it in worker processes here.

    Raises:
      UserError: source, settings and folder do not make a data set.
    """
    listing = source.list_photos()
    if not listing.photos and listing.quarantined:
        why = _main_reason(listing.quarantined)
        raise BuildError(
            f"all {len(listing.quarantined)} photos were left out{why}; give others or mend these"
        )
    if settings.encoding.crop_margin is not None and not any(p.box for p in listing.photos):
        raise BuildError(
            f"--crop_margin={settings.encoding.crop_margin} was given, but this source has no "
            "boxes to crop to; leave the flag out"
        )
    folder = BuildFolder(settings.out)
    folder.refuse_strangers(listing.description)
    plan = plan_build(
        listing,
        split_settings=settings.split,
        shard_bytes=settings.shard_mb * 10**6,
        estimate_bytes=_size_estimator(source, listing.photos, settings),
        known_splits=_known_splits(folder, settings, listing.photos),
    )
    with folder.claimed_for(listing.description):
        folder.write_sides(repr(settings.split), _sides_of(plan))
        tasks = _unfinished_tasks(plan, folder, source, settings)
        stale = folder.stale_files({shard.file for shard in plan.shards})
        if tasks or stale:
            folder.remove_manifest()
        for path in stale:
            storage.remove(path)
        on_start(sum(len(task.shard.photos) for task in tasks))
        # The largest first, so that no worker starts a long one when the others are done.
        tasks.sort(key=lambda task: -len(task.shard.photos))
        if run_tasks is not None:
            run_tasks(tasks)
        else:
            run_in_workers(
                write_shard_task, tasks, num_workers=settings.num_workers, on_progress=on_progress
            )
        reports = [_report_of(folder, shard.file) for shard in plan.shards]
        quarantined = all_quarantined(listing, reports)
        manifest = make_manifest(listing, plan.classes, reports, settings.split)
        _check_classes(manifest, quarantined)
        _write_metadata(folder, manifest, reports, quarantined)
    fates = Counter(photo.fate for report in reports for photo in report.photos)
    changes = Counter(
        change for report in reports for photo in report.photos for change in photo.changes
    )
    return BuildResult(
        manifest=manifest,
        num_shards_written=len(tasks),
        num_converted=fates[CONVERTED],
        changes=dict(changes.most_common()),
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
        SAMPLE_SIZE, photos, key=lambda photo: position_of(photo.id, settings.split.seed, "sample")
    )
    sizes = []
    for photo in sample:
        try:
            sizes.append(len(read_and_encode(photo, source, settings.encoding).image))
        except UnusablePhotoError:
            sizes.append(0)
    mean = sum(sizes) / max(1, len(sizes))
    return lambda photo: mean


def _known_splits(
    folder: BuildFolder, settings: BuildSettings, photos: Sequence[Photo]
) -> Mapping[str, str]:
    """Returns id -> split of the photos that were split before, in this folder or another.

    The same settings in the same folder never move a photo; other settings split anew.
    """
    known = {}
    if settings.keep_splits_of is not None:
        known = BuildFolder(settings.keep_splits_of).read_sides(None)
        if not known:
            raise BuildError(
                f"--keep_splits={settings.keep_splits_of!r} holds no earlier build; "
                "give the data folder whose splits are to be kept"
            )
        if photos and not any(photo.id in known for photo in photos):
            raise BuildError(
                f"--keep_splits={settings.keep_splits_of!r} knows none of these photos: its ids "
                f"are like {next(iter(known))!r}, theirs like {photos[0].id!r}; "
                "give a build of the same photos"
            )
    return {**folder.read_sides(repr(settings.split)), **known}


def _sides_of(plan: BuildPlan) -> dict[str, str]:
    return {
        planned.photo.id: shard.split
        for shard in plan.shards
        for planned in shard.photos
        if planned.photo.split is None
    }


def _unfinished_tasks(
    plan: BuildPlan, folder: BuildFolder, source: Source, settings: BuildSettings
) -> list[ShardTask]:
    # Without a manifest the last build was cut short, perhaps together with the machine, and what
    # it wrote may not have reached the disk.
    check_content = not folder.has_manifest()
    tasks = []
    for shard in plan.shards:
        shard_hash = input_hash(shard, (ENCODING_VERSION, settings.encoding))
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


def write_shard_task(task: ShardTask) -> None:
    """Writes one shard and then its report; runs wherever a runner puts it."""
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


def _check_classes(manifest: Manifest, quarantined: Sequence[Quarantined]) -> None:
    train = manifest.splits.get("train")
    counts = train.class_counts if train else (0,) * len(manifest.classes)
    empty = [name for name, count in zip(manifest.classes, counts, strict=True) if count == 0]
    if not empty:
        return
    raise BuildError(
        f"class {empty[0]!r} has no usable photo to train on ({len(quarantined)} photos left out"
        f"{_main_reason(quarantined)}); add photos or take the class out"
    )


def _main_reason(quarantined: Iterable[Quarantined]) -> str:
    reasons = Counter(row.reason for row in quarantined).most_common(1)
    return f"; most frequent reason: {reasons[0][0]!r}" if reasons else ""


def _write_metadata(
    folder: BuildFolder,
    manifest: Manifest,
    reports: Iterable[ShardReport],
    quarantined: Iterable[Quarantined],
) -> None:
    texts = {
        **tfds_files(manifest),
        "records.csv": records_table(reports),
        "quarantine.csv": quarantine_table(quarantined),
        FILE_NAME: dumps_manifest(manifest),  # The last one.
    }
    changed = {name: text for name, text in texts.items() if not folder.holds(name, text)}
    if not changed:
        return
    folder.remove_manifest()
    for name, text in {**changed, FILE_NAME: texts[FILE_NAME]}.items():
        folder.write_text(name, text)
