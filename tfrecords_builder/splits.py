"""Decides which photo belongs to which split: pure functions of ids, classes and a seed."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tfrecords_builder.errors import UserError
from tfrecords_builder.sources.base import Photo

SPLIT_NAMES = ("train", "val", "test")


class SplitError(UserError):
    """The photos cannot be split as asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitSettings:
    """How training and validation photos are told apart."""

    val_fraction: float = 0.15
    """Share of every class that is held out; ignored with folds."""
    seed: int = 0
    num_folds: int | None = None
    """Deal the photos into this many folds instead, ..."""
    fold: int = 0
    """... and hold this one out."""

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise SplitError(f"val_fraction is {self.val_fraction}; give 0 to below 1")
        if self.num_folds is None:
            return
        if self.num_folds < 2 or self.fold not in range(self.num_folds):
            raise SplitError(
                f"fold {self.fold} of {self.num_folds}; give at least 2 folds, counted from 0"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Unit:
    """Photos that stay together: a group, or one photo."""

    indices: tuple[int, ...]
    classes: Counter[str | None]


def assign_splits(
    photos: Sequence[Photo],
    settings: SplitSettings,
    known: Mapping[str, str] | None = None,
) -> list[str]:
    """Returns the split of every photo: "train", "val" or "test".

    Photos keep the split that their source gave them. Of the others, every class gives
    round(val_fraction * n) to "val", at least one and at most all but one. Which ones follows
    from hashes of seed and id, so neither the order of the listing nor other classes matter.
    Photos of one group stay together, then the counts are met as nearly as the groups allow.

    Args:
      photos: of the whole data set.
      settings: how to split.
      known: id -> split of earlier builds; these photos stay where they were. A group that is
        known on both sides goes to "train", so that nothing leaks into "val".

    Raises:
      SplitError: fewer than two classes, or a class that cannot be on both sides.
    """
    _check_classes({photo.class_name for photo in photos if photo.class_name is not None})
    splits = [photo.split or "train" for photo in photos]
    free = [index for index, photo in enumerate(photos) if photo.split is None]
    source_decides = "val" in splits
    if source_decides and settings.num_folds is not None:
        raise SplitError(
            f"{settings.num_folds} folds were asked for, but the source has a validation split of "
            "its own; leave --num_folds out"
        )
    if source_decides or (settings.num_folds is None and settings.val_fraction == 0):
        return splits
    units = _make_units(photos, free, settings.seed)
    _check_units(units, settings)
    sides = [_known_side(unit, photos, known or {}) for unit in units]
    if settings.num_folds is not None:
        held_out = _deal_fold(units, sides, settings.num_folds, settings.fold)
    else:
        held_out = _take_fraction(units, sides, settings.val_fraction)
    for unit, is_val in zip(units, held_out, strict=True):
        for index in unit.indices:
            splits[index] = "val" if is_val else "train"
    return splits


def position_of(record_id: str, seed: int, purpose: str) -> float:
    """Returns a number in [0, 1) that depends on nothing but the arguments, spread evenly."""
    digest = hashlib.blake2b(
        record_id.encode("utf-8", "surrogateescape"),
        digest_size=8,
        key=f"{purpose}:{seed}".encode(),
    ).digest()
    # 53 bits are what a double holds exactly, so the result stays below 1.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def _make_units(photos: Sequence[Photo], free: Iterable[int], seed: int) -> list[_Unit]:
    """Returns the groups in the order of their hashes."""
    by_key = defaultdict(list)
    for index in free:
        photo = photos[index]
        # The prefix keeps a group's name from meeting a photo's id.
        key = photo.id if photo.group is None else f"group:{photo.group}"
        by_key[key].append(index)
    keys = sorted(by_key, key=lambda key: (position_of(key, seed, "split"), key))
    return [
        _Unit(
            indices=tuple(by_key[key]),
            classes=Counter(photos[index].class_name for index in by_key[key]),
        )
        for key in keys
    ]


def _take_fraction(
    units: Sequence[_Unit], sides: Sequence[str | None], val_fraction: float
) -> list[bool]:
    total: Counter[str | None] = Counter()
    for unit in units:
        total.update(unit.classes)
    wanted = {
        name: min(max(1, round(val_fraction * count)), count - 1) for name, count in total.items()
    }
    held_out = [side == "val" for side in sides]
    num_val: Counter[str | None] = Counter()

    def hold_out(index: int) -> None:
        held_out[index] = True
        num_val.update(units[index].classes)

    def may_go(index: int) -> bool:
        """Tells whether something of all its classes would be left to train on."""
        classes = units[index].classes.items()
        return sides[index] is None and all(num_val[c] + n < total[c] for c, n in classes)

    for index, is_val in enumerate(held_out):
        if is_val:
            hold_out(index)
    for index, unit in enumerate(units):
        useful = sum(
            min(count, max(0, wanted[name] - num_val[name])) for name, count in unit.classes.items()
        )
        # A group helps when at least half of it is still wanted.
        if 2 * useful >= len(unit.indices) and may_go(index):
            hold_out(index)
    # The smallest group of each class whose groups were all too large to be taken.
    for name in total:
        if num_val[name] > 0:
            continue
        of_class = [i for i, unit in enumerate(units) if name in unit.classes and may_go(i)]
        if of_class:
            hold_out(min(of_class, key=lambda index: len(units[index].indices)))
    return held_out


def _deal_fold(
    units: Sequence[_Unit], sides: Sequence[str | None], num_folds: int, fold: int
) -> list[bool]:
    """Deals the units one by one to the fold that has least of their classes."""
    counts: list[Counter[str | None]] = [Counter() for _ in range(num_folds)]
    held_out = []
    for unit, side in zip(units, sides, strict=True):

        def fullness(number: int, unit: _Unit = unit) -> tuple[int, int, int]:
            of_classes = sum(counts[number][name] for name in unit.classes)
            return of_classes, counts[number].total(), number

        dealt = min(range(num_folds), key=fullness)
        counts[dealt].update(unit.classes)
        held_out.append(dealt == fold if side is None else side == "val")
    return held_out


def _known_side(unit: _Unit, photos: Sequence[Photo], known: Mapping[str, str]) -> str | None:
    sides = {known[photos[index].id] for index in unit.indices if photos[index].id in known}
    if not sides:
        return None
    return "val" if sides == {"val"} else "train"


def _check_classes(class_names: Iterable[str]) -> None:
    names = sorted(class_names)
    if len(names) >= 2:
        return
    found = f"one class only ({names[0]!r})" if names else "no labelled photo"
    raise SplitError(f"{found}; a classifier needs at least 2 classes, add photos of another")


def _check_units(units: Iterable[_Unit], settings: SplitSettings) -> None:
    num_units: Counter[str | None] = Counter()
    num_photos: Counter[str | None] = Counter()
    for unit in units:
        num_units.update(unit.classes.keys())
        num_photos.update(unit.classes)
    for name, count in num_units.items():
        if num_photos[name] < 2:
            raise SplitError(
                f"class {name!r} has {num_photos[name]} photo, needs at least 2 (one to train, "
                "one to validate); add photos or take the class out"
            )
        if count < 2:
            raise SplitError(
                f"all {num_photos[name]} photos of class {name!r} are in one group, needs at "
                "least 2 groups (one to train, one to validate); add photos or divide the group"
            )
        if settings.num_folds is not None and count < settings.num_folds:
            raise SplitError(
                f"class {name!r} has {count} photos or groups for {settings.num_folds} folds; "
                "use fewer folds or add photos"
            )
