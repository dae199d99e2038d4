"""Which photo goes into which record file: pure functions, no disk, no pixels."""

import hashlib
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tfrecords_builder.records import NO_LABEL
from tfrecords_builder.sources.base import Listing, Photo
from tfrecords_builder.sources.label_table import shown
from tfrecords_builder.sources.photo_files import natural_key
from tfrecords_builder.splits import (
    SPLIT_NAMES,
    SplitError,
    SplitSettings,
    assign_splits,
    position_of,
)

MIN_SHARDS = 8
"""Eight readers (a TPU host's cores) each find a file of their own."""
MIN_EXAMPLES_PER_SHARD = 32
"""Below this, more files cost more than they give."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedPhoto:
    """A photo and the label that it will carry."""

    photo: Photo
    label: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlan:
    """The content of one record file, before any photo was read."""

    file: str
    split: str
    photos: tuple[PlannedPhoto, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildPlan:
    """All record files of a data set."""

    classes: tuple[str, ...]
    shards: tuple[ShardPlan, ...]


def plan_build(
    listing: Listing,
    *,
    split_settings: SplitSettings,
    shard_bytes: int,
    estimate_bytes: Callable[[Photo], float],
    known_splits: Mapping[str, str] | None = None,
) -> BuildPlan:
    """Returns the record files for a listing.

    Training and validation photos are shuffled by a hash of seed and id, and every file takes an
    equal range of hashes, so a new photo changes one file only. Test photos keep their order.

    Args:
      listing: what the source found.
      split_settings: of the splits; its seed is also that of the order.
      shard_bytes: the largest size a file should have.
      estimate_bytes: expected size of a photo once encoded.
      known_splits: id -> split of photos that must stay where they were.

    Raises:
      SplitError: the classes cannot be split, or one has nothing to train on.
    """
    classes = _class_names(listing)
    labels = {name: label for label, name in enumerate(classes)}
    splits = assign_splits(listing.photos, split_settings, known_splits)
    _check_classes(classes, listing, splits)
    by_split = defaultdict(list)
    for photo, split in zip(listing.photos, splits, strict=True):
        label = NO_LABEL if photo.class_name is None else labels[photo.class_name]
        by_split[split].append(PlannedPhoto(photo=photo, label=label))
    shards: list[ShardPlan] = []
    for split in SPLIT_NAMES:
        photos = by_split[split]
        if not photos:
            continue
        num_bytes = sum(estimate_bytes(planned.photo) for planned in photos)
        num_shards = plan_num_shards(len(photos), num_bytes, shard_bytes)
        groups = (
            _in_order(photos, num_shards)
            if split == "test"
            else _by_hash(photos, num_shards, split_settings.seed)
        )
        shards += [
            ShardPlan(file=shard_file(split, index, num_shards), split=split, photos=tuple(group))
            for index, group in enumerate(groups)
        ]
    return BuildPlan(classes=classes, shards=tuple(shards))


def plan_num_shards(num_examples: int, num_bytes: float, shard_bytes: int) -> int:
    """Returns how many files hold a split: as many as the size asks for, and enough readers'."""
    for_size = math.ceil(num_bytes / shard_bytes)
    for_readers = min(MIN_SHARDS, num_examples // MIN_EXAMPLES_PER_SHARD)
    return max(1, min(max(for_size, for_readers), num_examples))


def shard_file(split: str, index: int, num_shards: int) -> str:
    """Returns the file name in the scheme of TensorFlow Datasets."""
    return f"dataset-{split}.tfrecord-{index:05d}-of-{num_shards:05d}"


def input_hash(shard: ShardPlan, settings: object) -> str:
    """Returns the identity of everything that a shard's bytes depend on.

    `settings` must have a repr that tells it apart. The photos' content counts by size and
    `version` (time of change), without being read.
    """
    rows = [
        (
            planned.label,
            planned.photo.id,
            planned.photo.locator,
            planned.photo.num_bytes,
            planned.photo.version,
            repr(planned.photo.box),
        )
        for planned in shard.photos
    ]
    identity = json.dumps([repr(settings), shard.file, rows])
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()


def _class_names(listing: Listing) -> tuple[str, ...]:
    listed = {photo.class_name for photo in listing.photos}
    listed |= {row.class_name for row in listing.quarantined}
    used = {name for name in listed if name is not None}
    for name in used:
        if not name.isprintable():
            raise SplitError(
                f"class name {name!r} holds control characters; rename it to printable text"
            )
        if name != name.strip() and name.strip() in used:
            raise SplitError(
                f"classes {name!r} and {name.strip()!r} differ in blanks alone; write both alike, "
                "or join them (--regroup)"
            )
    if listing.class_names is None:
        return tuple(sorted(used, key=natural_key))
    unknown = used.difference(listing.class_names)
    assert not unknown, f"the source listed photos of classes it does not name: {unknown}"
    return listing.class_names


def _check_classes(classes: Sequence[str], listing: Listing, splits: Sequence[str]) -> None:
    trained = {
        photo.class_name
        for photo, split in zip(listing.photos, splits, strict=True)
        if split == "train"
    }
    untrained = [name for name in classes if name not in trained]
    if not untrained:
        return
    left_out = [row for row in listing.quarantined if row.class_name == untrained[0]]
    why = f" ({left_out[0].id!r} was left out: {left_out[0].reason})" if left_out else ""
    raise SplitError(
        f"no photo to train on of {len(untrained)} classes: {shown(untrained)}{why}; "
        "add photos, or leave the class out or join it with another (--exclude, --regroup)"
    )


def _in_order(photos: Sequence[PlannedPhoto], num_shards: int) -> list[list[PlannedPhoto]]:
    bounds = [len(photos) * index // num_shards for index in range(num_shards + 1)]
    return [list(photos[start:end]) for start, end in itertools.pairwise(bounds)]


def _by_hash(
    photos: Sequence[PlannedPhoto], num_shards: int, seed: int
) -> list[list[PlannedPhoto]]:
    groups: list[list[tuple[float, str, PlannedPhoto]]] = [[] for _ in range(num_shards)]
    for planned in photos:
        position = position_of(planned.photo.id, seed, "order")
        groups[int(position * num_shards)].append((position, planned.photo.id, planned))
    return [
        [planned for _, _, planned in sorted(group, key=lambda item: item[:2])] for group in groups
    ]
