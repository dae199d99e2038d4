"""Which photo goes into which record file."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecords_builder.encoding import EncodingSettings
from tfrecords_builder.plan import BuildPlan, ShardPlan, input_hash, plan_build, plan_num_shards
from tfrecords_builder.regroup import regroup
from tfrecords_builder.sources.adjusted import exclude_photos
from tfrecords_builder.sources.base import Box, Listing, Photo, Quarantined
from tfrecords_builder.splits import SplitError, SplitSettings


def plan(photos: list[Photo], seed: int = 0, **settings: object) -> BuildPlan:
    return plan_listing(Listing(photos=tuple(photos)), seed, **settings)


def plan_listing(listing: Listing, seed: int = 0, **settings: object) -> BuildPlan:
    defaults = {"shard_bytes": 10**6, "estimate_bytes": lambda photo: 1000}
    split_settings = SplitSettings(val_fraction=0.2, seed=seed)
    return plan_build(listing, split_settings=split_settings, **{**defaults, **settings})


def photos_of(num_photos: int, split: str | None = None) -> list[Photo]:
    return [
        Photo(id=f"{number}.jpg", class_name=f"c{number % 2}", locator="", split=split)
        for number in range(num_photos)
    ]


def ids(shards: list[ShardPlan]) -> list[str]:
    return [planned.photo.id for shard in shards for planned in shard.photos]


@given(st.integers(4, 400), st.integers(0, 3))
def test_every_photo_is_planned_exactly_once(num_photos: int, seed: int) -> None:
    shards = plan(photos_of(num_photos), seed=seed, shard_bytes=40_000).shards
    assert sorted(ids(list(shards))) == sorted(photo.id for photo in photos_of(num_photos))


def test_class_whose_photos_were_all_refused_is_an_error_that_says_why() -> None:
    refused = Quarantined(id="c2/1.jpg", locator="", reason="symbolic link", class_name="c2")
    listing = Listing(photos=tuple(photos_of(20)), quarantined=(refused,))
    with pytest.raises(SplitError, match=r"'c2' \('c2/1.jpg' was left out: symbolic link\)"):
        plan_listing(listing)
    assert plan_listing(exclude_photos(listing, {"c2/1.jpg": ""}, "list")).classes == ("c0", "c1")
    merged = regroup(listing, {"c0": "c0", "c1": "c1", "c2": "c1"}, "table")
    assert plan_listing(merged).classes == ("c0", "c1")


def test_classes_that_differ_in_blanks_alone_are_an_error() -> None:
    photos = [*photos_of(20), Photo(id="x.jpg", class_name="c0 ", locator="")]
    with pytest.raises(SplitError, match="differ in blanks alone"):
        plan(photos)


def test_training_photos_are_shuffled_by_the_seed() -> None:
    one, other = (plan(photos_of(100), seed=seed).shards for seed in (0, 1))
    assert ids(list(one)) != ids(list(other))
    labels = [planned.label for planned in one[0].photos]
    assert 0.2 < sum(labels) / len(labels) < 0.8


def test_test_photos_keep_their_order() -> None:
    test_photos = [
        Photo(id=f"t{number}", class_name=None, locator="", split="test")
        for number in range(99, 0, -1)
    ]
    shards = plan(photos_of(20) + test_photos).shards
    in_test = [shard for shard in shards if shard.split == "test"]
    assert len(in_test) == 3
    assert ids(in_test) == [photo.id for photo in test_photos]


def test_a_new_photo_changes_one_file_of_its_split() -> None:
    photos = photos_of(600, split="train")
    new = Photo(id="new.jpg", class_name="c0", locator="", split="train")
    before, after = plan(photos).shards, plan([*photos, new]).shards
    changed = [old.file for old, now in zip(before, after, strict=True) if old != now]
    assert len(changed) == 1


def test_classes_are_sorted_like_numbers() -> None:
    photos = [
        Photo(id=f"{name}{number}", class_name=name, locator="")
        for name in ("10", "9", "1")
        for number in range(2)
    ]
    assert plan(photos).classes == ("1", "9", "10")


def test_a_class_without_training_photos_is_refused_before_anything_is_read() -> None:
    listing = Listing(photos=tuple(photos_of(20)), class_names=("c0", "c1", "c2"))
    with pytest.raises(SplitError, match="no photo to train on of 1 classes: 'c2'"):
        plan_build(
            listing,
            split_settings=SplitSettings(),
            shard_bytes=10**6,
            estimate_bytes=lambda photo: 1000,
        )


def test_a_class_name_with_a_line_break_is_refused() -> None:
    photos = [Photo(id=str(number), class_name="a\nb", locator="") for number in range(4)]
    with pytest.raises(SplitError, match="control characters"):
        plan(photos)


@pytest.mark.parametrize(
    ("num_examples", "num_bytes", "expected"),
    [
        (1, 10, 1),
        (31, 10, 1),
        (64, 10, 2),
        (100_000, 10, 8),
        (100_000, 150e6 * 20, 20),
        (100_000, 150e6 * 20 + 1, 21),
        (3, 150e6 * 20, 3),
    ],
)
def test_number_of_files(num_examples: int, num_bytes: float, expected: int) -> None:
    assert plan_num_shards(num_examples, num_bytes, 150 * 10**6) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"num_bytes": 11},
        {"version": "later"},
        {"locator": "elsewhere"},
        {"id": "other"},
        {"box": Box(left=0, top=0, right=1, bottom=1)},
    ],
)
def test_the_input_hash_sees_every_change_of_a_photo(change: dict[str, object]) -> None:
    photo = Photo(id="a", class_name="c0", locator="a", num_bytes=10, split="train")
    others = photos_of(6)
    before, after = (
        plan([first, *others]).shards[0] for first in (photo, dataclasses.replace(photo, **change))
    )
    settings = EncodingSettings()
    assert input_hash(before, settings) != input_hash(after, settings)


def test_the_input_hash_sees_every_setting() -> None:
    shard = plan(photos_of(6)).shards[0]
    settings = [
        EncodingSettings(),
        EncodingSettings(max_px=10),
        EncodingSettings(quality=90),
        EncodingSettings(verify_pixels=False),
    ]
    assert len({input_hash(shard, each) for each in settings}) == len(settings)
