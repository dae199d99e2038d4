"""Which photo goes to which split."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecords_builder.sources.base import Photo
from tfrecords_builder.splits import SplitError, assign_splits, position_of


def photos_of(**num_per_class: int) -> list[Photo]:
    return [
        Photo(id=f"{name}/{number}.jpg", class_name=name, locator="")
        for name, num_photos in num_per_class.items()
        for number in range(num_photos)
    ]


def sides(photos: list[Photo], **settings: float) -> dict[str, str]:
    splits = assign_splits(photos, **{"val_fraction": 0.2, "seed": 0, **settings})
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
        sides(photos_of(a=5, b=5), val_fraction=val_fraction)


def test_positions_are_spread_evenly() -> None:
    positions = [position_of(f"{number}.jpg", 0, "split") for number in range(10_000)]
    counts = Counter(int(10 * position) for position in positions)
    assert sorted(counts) == list(range(10))
    assert all(850 <= count <= 1150 for count in counts.values())
