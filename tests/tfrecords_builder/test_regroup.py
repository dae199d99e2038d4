"""Classes into groups by a table."""

from collections import Counter
from pathlib import Path

import pytest

from tfrecords_builder.regroup import RegroupError, load_groups, regroup
from tfrecords_builder.sources.base import Listing, Photo
from tfrecords_builder.sources.stanford_cars import load_annotations

LISTING = Listing(
    photos=(
        Photo(id="1", class_name="BMW X5", locator=""),
        Photo(id="2", class_name="BMW M3", locator=""),
        Photo(id="3", class_name=None, locator="", split="test"),
    ),
    class_names=("BMW M3", "BMW X5"),
)


def test_photos_get_the_group_of_their_class(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("class,group\nBMW X5,SUV\nBMW M3,coupe\n")
    found = regroup(LISTING, load_groups(str(table)), str(table))
    assert [photo.class_name for photo in found.photos] == ["SUV", "coupe", None]
    assert found.class_names is None
    assert found.adjustments["regroup"] == str(table)


def test_a_class_without_a_group_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(RegroupError, match=r"'BMW M3' \(the nearest in the table is 'BMW M 3'\)"):
        regroup(LISTING, {"BMW X5": "SUV", "BMW M 3": "coupe"}, "groups.csv")


def test_the_shipped_table_turns_196_models_into_49_groups() -> None:
    groups = load_groups("stanford_cars")
    assert len(groups) == 196
    assert len(set(groups.values())) == 49


def test_the_shipped_table_divides_the_big_makes_by_body_type() -> None:
    groups = load_groups("stanford_cars")
    assert groups["BMW M3 Coupe 2012"] == "BMW"
    assert groups["BMW X5 SUV 2007"] == "BMW SUV"
    assert groups["Ford F-150 Regular Cab 2012"] == "Ford Pickup"
    divided = Counter(group.split()[0] for group in set(groups.values()))
    assert {make for make, count in divided.items() if count > 1} == {
        "BMW",
        "Chevrolet",
        "Dodge",
        "Ford",
        "Hyundai",
    }


def test_the_shipped_table_has_every_class_of_the_real_annotations(material: Path) -> None:
    class_names, _ = load_annotations(str(material / "stanford_cars_devkit"))
    assert sorted(load_groups("stanford_cars")) == sorted(class_names)
