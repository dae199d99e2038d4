"""Photos that look the same are found, all of them and no others."""

import itertools
import time

from hypothesis import given
from hypothesis import strategies as st

from tfrecords_builder.audit.duplicates import find_duplicates, near_pairs
from tfrecords_builder.audit.inspection import PhotoFacts


def photo(
    name: str, value: int | None, sha256: str | None = None, label: str = "a", split: str = "train"
) -> PhotoFacts:
    return PhotoFacts(
        id=name, class_name=label, split=split, sha256=sha256 or name, perceptual_hash=value
    )


# Few bits set make near hashes frequent.
hashes = st.lists(st.sets(st.integers(0, 63), max_size=5), max_size=25).map(
    lambda rows: [sum(1 << bit for bit in bits) for bits in rows]
)


def components(pairs: list[tuple[int, int]], count: int) -> set[frozenset[int]]:
    groups = [{index} for index in range(count)]
    for one, other in pairs:
        left = next(group for group in groups if one in group)
        right = next(group for group in groups if other in group)
        if left is not right:
            left |= right
            groups.remove(right)
    return {frozenset(group) for group in groups if len(group) > 1}


@given(hashes, st.integers(0, 8))
def test_bands_find_the_same_groups_as_comparing_all_pairs(
    values: list[int], max_distance: int
) -> None:
    photos = [photo(str(index), value) for index, value in enumerate(values)]
    every_pair = [
        (one, other)
        for one, other in itertools.combinations(range(len(values)), 2)
        if (values[one] ^ values[other]).bit_count() <= max_distance
    ]
    found = list(near_pairs(photos, max_distance))
    assert components(found, len(values)) == components(every_pair, len(values))
    assert {tuple(sorted(pair)) for pair in found} <= set(every_pair)
    groups = find_duplicates(photos, max_distance)
    assert {frozenset(int(member.id) for member in group.members) for group in groups} == (
        components(every_pair, len(values))
    )


def test_equal_files_are_found_even_when_broken() -> None:
    (group,) = find_duplicates([photo("1", None, "x"), photo("2", None, "x")], 4)
    assert group.exact


def test_photos_without_a_fingerprint_are_alone() -> None:
    assert find_duplicates([photo("1", None), photo("2", None)], 4) == []


def test_different_labels_come_first_then_different_splits() -> None:
    photos = [
        photo("same", 0),
        photo("same too", 0),
        photo("train", 0xFF00),
        photo("val", 0xFF00, split="val"),
        photo("one", 0xFF0000, label="a"),
        photo("other", 0xFF0000, label="b"),
    ]
    groups = find_duplicates(photos, 0)
    assert [group.members[0].id for group in groups] == ["one", "train", "same"]
    assert [group.crosses_classes for group in groups] == [True, False, False]
    assert [group.crosses_splits for group in groups] == [False, True, False]


def test_many_blank_photos_take_no_time() -> None:
    photos = [photo(str(index), 0) for index in range(20_000)]
    started = time.monotonic()
    (group,) = find_duplicates(photos, 4)
    assert len(group.members) == 20_000
    assert time.monotonic() - started < 20  # All pairs would take minutes.
