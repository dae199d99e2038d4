"""Finds photos that are the same or look the same: pure functions of their fingerprints."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tfrecords_builder.audit.inspection import PhotoFacts

HASH_BITS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateGroup:
    """Photos that belong together, directly or through others between them."""

    members: tuple[PhotoFacts, ...]
    exact: bool
    """All files are byte for byte the same."""

    @property
    def crosses_classes(self) -> bool:
        """The same photo stands under different labels: one of them is wrong."""
        return len({photo.class_name for photo in self.members if photo.class_name}) > 1

    @property
    def crosses_splits(self) -> bool:
        """The same photo is trained on and measured with: the measurement is too good."""
        return len({photo.split for photo in self.members}) > 1


def find_duplicates(photos: Sequence[PhotoFacts], max_distance: int) -> list[DuplicateGroup]:
    """Returns the groups of two and more photos, the most harmful ones first.

    Args:
      photos: with their fingerprints; broken ones take part with their exact one only.
      max_distance: bits by which the perceptual hashes of near duplicates may differ, 0 to 63.
    """
    parents = list(range(len(photos)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    pairs = [*_equal_files(photos), *near_pairs(photos, max_distance)]
    for one, other in pairs:
        parents[root(one)] = root(other)
    by_root = defaultdict(list)
    for index, photo in enumerate(photos):
        by_root[root(index)].append(photo)
    groups = [
        DuplicateGroup(members=tuple(members), exact=len({photo.sha256 for photo in members}) == 1)
        for members in by_root.values()
        if len(members) > 1
    ]
    return sorted(
        groups,
        key=lambda group: (
            not group.crosses_classes,
            not group.crosses_splits,
            not group.exact,
            group.members[0].id,
        ),
    )


def near_pairs(photos: Sequence[PhotoFacts], max_distance: int) -> Iterator[tuple[int, int]]:
    """Yields index pairs whose perceptual hashes differ in at most `max_distance` bits.

    Cut into max_distance + 1 bands, two such hashes agree in at least one whole band, so only
    photos that share a band are compared.
    """
    num_bands = max_distance + 1
    bounds = [HASH_BITS * band // num_bands for band in range(num_bands + 1)]
    hashes = {
        index: photo.perceptual_hash
        for index, photo in enumerate(photos)
        if photo.perceptual_hash is not None
    }
    # Equal hashes are joined in a chain first: comparing all their pairs would take forever for
    # ten thousand blank pictures.
    representatives: dict[int, int] = {}
    for index, value in hashes.items():
        first = representatives.setdefault(value, index)
        if first != index:
            yield first, index
    for start, end in itertools.pairwise(bounds):
        mask = (1 << (end - start)) - 1
        buckets = defaultdict(list)
        for value, index in representatives.items():
            buckets[value >> start & mask].append((value, index))
        for bucket in buckets.values():
            for position, (value, index) in enumerate(bucket):
                for other_value, other in bucket[position + 1 :]:
                    if (value ^ other_value).bit_count() <= max_distance:
                        yield index, other


def _equal_files(photos: Iterable[PhotoFacts]) -> Iterator[tuple[int, int]]:
    first: dict[str, int] = {}
    for index, photo in enumerate(photos):
        if photo.sha256 is None:
            continue
        earlier = first.setdefault(photo.sha256, index)
        if earlier != index:
            yield earlier, index
