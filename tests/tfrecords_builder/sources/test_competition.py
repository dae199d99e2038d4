"""Tables and folders of a competition are matched, and what does not match is said."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tfrecords_builder.manifest import MissingRow
from tfrecords_builder.sources.base import Listing
from tfrecords_builder.sources.competition import CompetitionSource
from tfrecords_builder.sources.photo_files import SourceError

MakeSource = Callable[..., CompetitionSource]


@pytest.fixture
def competition(tmp_path: Path) -> MakeSource:
    """Makes a small competition: train/<category>/<id>, test/<id> and both tables."""

    def make(
        train: dict[str, str],
        files: list[str],
        sample: list[str] | None = None,
        test_files: list[str] | None = None,
        **options: bool,
    ) -> CompetitionSource:
        for folder, relative_paths in (("train", files), ("test", test_files or [])):
            for relative_path in relative_paths:
                path = tmp_path / folder / relative_path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"photo")
        rows = "".join(f"{name},{label}\n" for name, label in train.items())
        (tmp_path / "train.csv").write_text(f"Id,Category\n{rows}")
        paths = {"images": str(tmp_path / "train"), "labels": str(tmp_path / "train.csv")}
        if sample is not None:
            (tmp_path / "sample.csv").write_text(
                "Id,Category\n" + "".join(f"{name},0\n" for name in sample)
            )
            paths |= {
                "test_images": str(tmp_path / "test"),
                "sample_submission": str(tmp_path / "sample.csv"),
            }
        return CompetitionSource(**paths, **options)

    return make


def rows(listing: Listing) -> list[tuple[str, str | None, str | None]]:
    return [(photo.id, photo.class_name, photo.split) for photo in listing.photos]


TRAIN = {"1.jpg": "0", "2.jpg": "1"}


@pytest.mark.parametrize("files", [["0/1.jpg", "1/2.jpg"], ["1.jpg", "2.jpg"]])
def test_photos_lie_in_category_folders_or_flat(competition: MakeSource, files: list[str]) -> None:
    source = competition(TRAIN, files)
    listing = source.list_photos()
    assert rows(listing) == [("1.jpg", "0", None), ("2.jpg", "1", None)]
    assert source.read(listing.photos[0]) == b"photo"


def test_test_photos_come_in_the_order_of_the_sample_submission(
    competition: MakeSource,
) -> None:
    test_files = ["7.jpg", "8.jpg", "9.jpg"]
    source = competition(TRAIN, list(TRAIN), ["9.jpg", "7.jpg", "8.jpg"], test_files)
    listing = source.list_photos()
    assert rows(listing)[2:] == [(name, None, "test") for name in ("9.jpg", "7.jpg", "8.jpg")]
    assert listing.submission is not None
    assert listing.submission.label_column == "Category"


@pytest.mark.parametrize(
    ("train", "files", "words"),
    [
        ({**TRAIN, "3.jpg": "0"}, ["1.jpg", "2.jpg"], "1 ids without a photo .*'3.jpg'"),
        (TRAIN, ["1.jpg", "2.jpg", "3.jpg"], "1 photos without a row .*'3.jpg'"),
        (TRAIN, ["0/1.jpg", "0/2.jpg"], "'2.jpg' lies under '0/2.jpg', another category"),
    ],
)
def test_mismatches_are_errors(
    competition: MakeSource, train: dict[str, str], files: list[str], words: str
) -> None:
    with pytest.raises(SourceError, match=words):
        competition(train, files).list_photos()


def test_mismatches_are_quarantined_on_demand(competition: MakeSource) -> None:
    train = {**TRAIN, "3.jpg": "0"}
    files = ["1.jpg", "2.jpg", "4.jpg"]
    source = competition(train, files, ["8.jpg", "9.jpg"], ["9.jpg"], quarantine_mismatches=True)
    listing = source.list_photos()
    assert {row.id: row.reason for row in listing.quarantined} == {
        "3.jpg": "id without a photo",
        "4.jpg": "photo without a row",
        "8.jpg": "id without a photo",
    }
    assert listing.missing == (MissingRow(position=0, id="8.jpg"),)


def test_an_id_in_both_parts_is_an_error(competition: MakeSource) -> None:
    source = competition(TRAIN, list(TRAIN), ["1.jpg"], ["1.jpg"])
    with pytest.raises(SourceError, match="duplicate ids in the training and the test photos"):
        source.list_photos()


def test_a_sample_submission_needs_its_photos(tmp_path: Path, competition: MakeSource) -> None:
    competition(TRAIN, list(TRAIN))
    source = CompetitionSource(
        images=str(tmp_path / "train"),
        labels=str(tmp_path / "train.csv"),
        sample_submission=str(tmp_path / "train.csv"),
    )
    with pytest.raises(SourceError, match="without --test_images"):
        source.list_photos()


def test_a_link_out_of_the_folder_is_never_read(tmp_path: Path, competition: MakeSource) -> None:
    source = competition(TRAIN, ["1.jpg"])
    (tmp_path / "train" / "2.jpg").symlink_to(tmp_path / "train.csv")
    listing = source.list_photos()
    assert [row.id for row in listing.quarantined] == ["2.jpg"]
    assert [photo.id for photo in listing.photos] == ["1.jpg"]


def test_the_real_competition_folder_is_listed_whole(material: Path) -> None:
    cars = material / "cars"
    source = CompetitionSource(
        images=str(cars / "train"),
        labels=str(cars / "train.csv"),
        test_images=str(cars / "test_upload"),
        sample_submission=str(cars / "sample-submission.csv"),
    )
    listing = source.list_photos()
    sample = (cars / "sample-submission.csv").read_text().split()[1:]
    in_test = [photo.id for photo in listing.photos if photo.split == "test"]
    assert len(listing.photos) == 1000
    assert in_test == [line.split(",")[0] for line in sample]
