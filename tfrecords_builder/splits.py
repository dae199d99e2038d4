"""Decides which photo belongs to which split: pure functions of ids, classes and a seed."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from tfrecords_builder.errors import UserError
from tfrecords_builder.sources.base import Photo

SPLIT_NAMES = ("train", "val", "test")
_HASH_BITS = 64


class SplitError(UserError):
    """The photos cannot be split as asked."""


def assign_splits(photos: Sequence[Photo], *, val_fraction: float, seed: int) -> list[str]:
    """Returns the split of every photo: "train", "val" or "test".

    Photos keep the split that their source gave them. Of the others, every class gives
    round(val_fraction * n) to "val", at least one and at most all but one; which ones follows
    from hashes of seed and id, so neither the order of the listing nor other classes matter.

    Raises:
      SplitError: fewer than two classes, or a class with fewer than two photos.
    """
    if not 0 <= val_fraction < 1:
        raise SplitError(f"val_fraction is {val_fraction}; give a number from 0 to below 1")
    by_class = defaultdict(list)
    for index, photo in enumerate(photos):
        if photo.split is None:
            by_class[photo.class_name].append(index)
    has_fixed_val = any(photo.split == "val" for photo in photos)
    _check_classes({photo.class_name for photo in photos if photo.class_name is not None})
    splits = [photo.split or "train" for photo in photos]
    if has_fixed_val or val_fraction == 0:
        return splits
    for class_name, indices in by_class.items():
        if len(indices) < 2:
            raise SplitError(
                f"class {class_name!r} has {len(indices)} photo, needs at least 2 (one to train, "
                "one to validate); add photos or take the class out"
            )
        num_val = min(max(1, round(val_fraction * len(indices))), len(indices) - 1)
        ranked = sorted(indices, key=lambda index: position_of(photos[index].id, seed, "split"))
        for index in ranked[:num_val]:
            splits[index] = "val"
    return splits


def position_of(record_id: str, seed: int, purpose: str) -> float:
    """Returns a number in [0, 1) that depends on nothing but the arguments, spread evenly."""
    digest = hashlib.blake2b(
        record_id.encode("utf-8", "surrogateescape"),
        digest_size=_HASH_BITS // 8,
        key=f"{purpose}:{seed}".encode(),
    ).digest()
    # 53 bits are what a double holds exactly, so the result stays below 1.
    return (int.from_bytes(digest, "big") >> (_HASH_BITS - 53)) / 2**53


def _check_classes(class_names: Iterable[str]) -> None:
    names = sorted(class_names)
    if len(names) >= 2:
        return
    found = f"one class only ({names[0]!r})" if names else "no labelled photo"
    raise SplitError(f"{found}; a classifier needs at least 2 classes, add photos of another")
