"""The user's corrections to a listing."""

from pathlib import Path

import pytest

from tests.tfrecords_builder.photos import write_photos
from tfrecords_builder.manifest import Submission
from tfrecords_builder.sources.adjusted import AdjustedSource, exclude_photos, load_exclusions
from tfrecords_builder.sources.base import Listing, Photo
from tfrecords_builder.sources.folder import FolderSource
from tfrecords_builder.sources.photo_files import SourceError


@pytest.mark.parametrize(
    "content",
    ["a/0.jpg\na/1.jpg\n", "id,reason\na/0.jpg,\na/1.jpg,\n", "\ufeffid\r\na/0.jpg\r\na/1.jpg"],
)
def test_an_exclusion_list_may_be_plain_or_a_table(tmp_path: Path, content: str) -> None:
    (tmp_path / "exclude.csv").write_text(content, newline="")
    assert list(load_exclusions(str(tmp_path / "exclude.csv"))) == ["a/0.jpg", "a/1.jpg"]


def test_excluded_photos_are_quarantined_with_their_reason(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"a": 2, "b": 2})
    (tmp_path / "exclude.csv").write_text("id,reason\na/1.jpg,blurred\n")
    source = AdjustedSource(
        source=FolderSource(images=str(tmp_path / "photos")),
        exclude=str(tmp_path / "exclude.csv"),
    )
    listing = source.list_photos()
    assert [photo.id for photo in listing.photos] == ["a/0.jpg", "b/0.jpg", "b/1.jpg"]
    assert [(row.id, row.reason) for row in listing.quarantined] == [
        ("a/1.jpg", "excluded: blurred")
    ]


def test_an_exclusion_of_no_photo_is_an_error(tmp_path: Path) -> None:
    listing = Listing(photos=(Photo(id="a", class_name="x", locator=""),))
    with pytest.raises(SourceError, match="the first is 'b'"):
        exclude_photos(listing, {"b": "why"}, "exclude.csv")


def test_photos_to_predict_are_never_excluded() -> None:
    photo = Photo(id="t", class_name=None, locator="", split="test")
    listing = Listing(photos=(photo,), submission=Submission(id_column="i", label_column="c"))
    assert exclude_photos(listing, {"t": "why"}, "exclude.csv").photos == (photo,)


def test_a_table_ties_photos_together(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"a": 2, "b": 2})
    (tmp_path / "groups.csv").write_text("id,group\na/0.jpg,burst\nb/1.jpg,burst\n")
    source = AdjustedSource(
        source=FolderSource(images=str(tmp_path / "photos")), groups=str(tmp_path / "groups.csv")
    )
    groups = {photo.id: photo.group for photo in source.list_photos().photos}
    assert groups == {"a/0.jpg": "burst", "a/1.jpg": None, "b/0.jpg": None, "b/1.jpg": "burst"}
    photo = source.list_photos().photos[0]
    assert source.read(photo) == (tmp_path / "photos" / "a" / "0.jpg").read_bytes()


def test_a_table_of_groups_takes_no_photo_out_of_the_group_of_its_source(tmp_path: Path) -> None:
    groups = {"1": "one car", "2": "one car", "3": None, "4": "another", "5": "another", "6": "x"}
    photos = tuple(
        Photo(id=name, class_name="c", locator="", group=group) for name, group in groups.items()
    )

    class Table:
        def list_photos(self) -> Listing:
            return Listing(photos=photos)

        def read(self, photo: Photo) -> bytes:
            raise AssertionError("listing reads no photo")

    (tmp_path / "groups.csv").write_text("id,group\n1,alike\n3,alike\n5,same\n2,same\n")
    source = AdjustedSource(source=Table(), groups=str(tmp_path / "groups.csv"))
    found = {photo.id: photo.group for photo in source.list_photos().photos}
    assert len({found[name] for name in "12345"}) == 1
    assert found["6"] == "x"


def test_a_group_of_no_photo_is_an_error(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"a": 2, "b": 2})
    (tmp_path / "groups.csv").write_text("id,group\na/0.jpg,burst\n1.jpg,burst\n")
    source = AdjustedSource(
        source=FolderSource(images=str(tmp_path / "photos")), groups=str(tmp_path / "groups.csv")
    )
    with pytest.raises(SourceError, match=r"1 ids are no photos, the first is '1\.jpg'"):
        source.list_photos()


@pytest.mark.parametrize("path", ["missing.csv", ".", "file.csv/inner.csv"])
def test_a_list_that_cannot_be_read_is_an_error(tmp_path: Path, path: str) -> None:
    (tmp_path / "file.csv").touch()
    with pytest.raises(SourceError, match="give a file with one id a line"):
        load_exclusions(str(tmp_path / path))


def test_the_lists_of_an_audit_that_found_nothing_change_nothing(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"a": 2, "b": 2})
    (tmp_path / "exclude.csv").write_text("id,reason\n")
    (tmp_path / "groups.csv").write_text("id,group\n")
    source = FolderSource(images=str(tmp_path / "photos"))
    adjusted = AdjustedSource(
        source=source, exclude=str(tmp_path / "exclude.csv"), groups=str(tmp_path / "groups.csv")
    )
    assert adjusted.list_photos().photos == source.list_photos().photos
