"""Which photo goes to which split."""

import dataclasses
from collections import Counter
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tfrecords_builder.sources.base import Photo
from tfrecords_builder.splits import SplitError, SplitSettings, assign_splits, position_of


def photos_of(**num_per_class: int) -> list[Photo]:
    return [
        Photo(id=f"{name}/{number}.jpg", class_name=name, locator="")
        for name, num_photos in num_per_class.items()
        for number in range(num_photos)
    ]


def sides(
    photos: list[Photo], known: dict[str, str] | None = None, **settings: Any
) -> dict[str, str]:
    split_settings = SplitSettings(**{"val_fraction": 0.2, **settings})
    splits = assign_splits(photos, split_settings, known)
    return {photo.id: split for photo, split in zip(photos, splits, strict=True)}


@given(st.lists(st.integers(2, 60), min_size=2, max_size=5), st.floats(0.01, 0.99))
def test_every_class_gives_its_share_and_keeps_some(sizes: list[int], val_fraction: float) -> None:
    photos = photos_of(**{f"class{index}": size for index, size in enumerate(sizes)})
    found = sides(photos, val_fraction=val_fraction)
    held_out = Counter(name.split("/")[0] for name, split in found.items() if split == "val")
    for index, size in enumerate(sizes):
        num_val = held_out[f"class{index}"]
        assert 1 <= num_val <= size - 1
        assert abs(num_val - val_fraction * size) <= 1


def test_the_order_of_the_listing_does_not_matter() -> None:
    photos = photos_of(a=30, b=30)
    assert sides(photos) == sides(photos[::-1])


def test_the_seed_matters() -> None:
    photos = photos_of(a=30, b=30)
    assert sides(photos, seed=0) != sides(photos, seed=1)


def test_another_class_changes_no_side_of_this_one() -> None:
    before, after = sides(photos_of(a=30, b=30)), sides(photos_of(a=30, b=30, c=40))
    assert before.items() <= after.items()


def test_no_fraction_means_no_validation_split() -> None:
    assert set(sides(photos_of(a=3, b=3), val_fraction=0).values()) == {"train"}


def test_the_split_of_the_source_is_kept() -> None:
    fixed = [Photo(id="t", class_name=None, locator="", split="test")]
    assert sides([*photos_of(a=5, b=5), *fixed])["t"] == "test"


def test_a_validation_split_of_the_source_is_the_only_one() -> None:
    fixed = [Photo(id="v", class_name="a", locator="", split="val")]
    found = sides([*photos_of(a=5, b=5), *fixed])
    assert [name for name, split in found.items() if split == "val"] == ["v"]


def test_folds_beside_a_validation_split_of_the_source_are_refused() -> None:
    fixed = [Photo(id="v", class_name="a", locator="", split="val")]
    with pytest.raises(SplitError, match="validation split of its own"):
        sides([*photos_of(a=5, b=5), *fixed], num_folds=3)


@pytest.mark.parametrize(
    ("photos", "words"),
    [
        (photos_of(a=9), "one class only"),
        (photos_of(a=9, b=1), "class 'b' has 1 photo"),
        ([], "no labelled photo"),
    ],
)
def test_photos_that_cannot_be_split_are_refused(photos: list[Photo], words: str) -> None:
    with pytest.raises(SplitError, match=words):
        sides(photos)


@pytest.mark.parametrize("val_fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_out_of_range_is_refused(val_fraction: float) -> None:
    with pytest.raises(SplitError, match="val_fraction"):
        SplitSettings(val_fraction=val_fraction)


@pytest.mark.parametrize(("num_folds", "fold"), [(1, 0), (3, 3), (3, -1)])
def test_folds_out_of_range_are_refused(num_folds: int, fold: int) -> None:
    with pytest.raises(SplitError, match="folds"):
        SplitSettings(num_folds=num_folds, fold=fold)


@given(st.integers(2, 6), st.integers(12, 80))
def test_folds_hold_every_photo_out_once_and_are_equal_in_every_class(
    num_folds: int, num_photos: int
) -> None:
    photos = photos_of(a=num_photos, b=num_photos + 7)
    held_out: list[str] = []
    for fold in range(num_folds):
        found = sides(photos, num_folds=num_folds, fold=fold)
        in_fold = [name for name, split in found.items() if split == "val"]
        for class_name, size in (("a", num_photos), ("b", num_photos + 7)):
            count = sum(name.startswith(class_name) for name in in_fold)
            assert count in (size // num_folds, -(-size // num_folds))
        held_out += in_fold
    assert sorted(held_out) == sorted(photo.id for photo in photos)


def in_groups(photos: list[Photo], size: int) -> list[Photo]:
    return [
        dataclasses.replace(photo, group=f"g{index // size}") for index, photo in enumerate(photos)
    ]


@given(st.integers(1, 9), st.integers(0, 3), st.sampled_from([None, 3]))
def test_groups_stay_on_one_side(size: int, seed: int, num_folds: int | None) -> None:
    photos = in_groups(photos_of(a=40, b=40), size)
    found = sides(photos, seed=seed, num_folds=num_folds)
    for group in {photo.group for photo in photos}:
        assert len({found[photo.id] for photo in photos if photo.group == group}) == 1


@given(st.integers(1, 6), st.integers(0, 3))
def test_groups_come_near_the_wanted_share(size: int, seed: int) -> None:
    found = sides(in_groups(photos_of(a=60, b=60), size), seed=seed)
    counts = Counter(name[0] for name, split in found.items() if split == "val")
    for class_name in "ab":
        assert abs(counts[class_name] - 12) <= size


def test_a_class_of_large_groups_is_still_validated() -> None:
    photos = in_groups(photos_of(a=40, b=40), 20)
    counts = Counter(name[0] for name, split in sides(photos).items() if split == "val")
    assert counts == {"a": 20, "b": 20}


@given(
    st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=3, max_size=10),
    st.sampled_from([0.15, 0.3, 0.6]),
)
def test_groups_of_several_classes_leave_all_of_them_something_to_train_on(
    groups: list[list[str]], val_fraction: float
) -> None:
    photos = [
        Photo(id=f"{name}/{number}/{index}", class_name=name, locator="", group=str(number))
        for number, names in enumerate(groups)
        for index, name in enumerate(names)
    ]
    try:
        found = sides(photos, val_fraction=val_fraction)
    except SplitError:
        assume(False)
    trained = {name.split("/")[0] for name, split in found.items() if split == "train"}
    assert trained == {photo.class_name for photo in photos}


def test_a_class_in_one_group_is_refused() -> None:
    photos = in_groups(photos_of(a=10, b=10), 10)
    with pytest.raises(SplitError, match="all 10 photos of class 'a' are in one group"):
        sides(photos)


@given(st.integers(2, 40), st.integers(0, 60), st.integers(0, 3))
def test_old_photos_keep_their_side_when_new_ones_come(
    num_old: int, num_new: int, seed: int
) -> None:
    before = sides(photos_of(a=num_old, b=num_old), seed=seed)
    all_photos = photos_of(a=num_old + num_new, b=num_old + num_new)
    after = sides(all_photos, seed=seed, known=before)
    assert before.items() <= after.items()
    num_val = sum(split == "val" for split in after.values())
    assert abs(num_val - 0.2 * len(all_photos)) <= 2


def test_a_group_known_on_both_sides_trains() -> None:
    photos = in_groups(photos_of(a=20, b=20), 2)
    found = sides(photos, known={"a/0.jpg": "train", "a/1.jpg": "val"})
    assert (found["a/0.jpg"], found["a/1.jpg"]) == ("train", "train")


def test_positions_are_spread_evenly() -> None:
    positions = [position_of(f"{number}.jpg", 0, "split") for number in range(10_000)]
    counts = Counter(int(10 * position) for position in positions)
    assert sorted(counts) == list(range(10))
    assert all(850 <= count <= 1150 for count in counts.values())
