"""One folder a class."""

from pathlib import Path

import pytest

from tfrecords_builder.sources.folder import FolderSource
from tfrecords_builder.sources.photo_files import LINKED_FOLDER, SourceError


def test_the_first_folder_is_the_class(tmp_path: Path) -> None:
    for relative_path in ("a/1.jpg", "b/deep/2.jpg"):
        (tmp_path / relative_path).parent.mkdir(parents=True)
        (tmp_path / relative_path).write_bytes(relative_path.encode())
    source = FolderSource(images=str(tmp_path))
    photos = source.list_photos().photos
    assert [(photo.id, photo.class_name) for photo in photos] == [
        ("a/1.jpg", "a"),
        ("b/deep/2.jpg", "b"),
    ]
    assert source.read(photos[1]) == b"b/deep/2.jpg"


def test_a_file_in_no_class_folder_is_left_out_and_said(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(b"x")
    (tmp_path / "readme.txt").write_bytes(b"x")
    listing = FolderSource(images=str(tmp_path)).list_photos()
    assert [(row.id, row.reason) for row in listing.quarantined] == [
        ("readme.txt", "in no class folder")
    ]


def test_a_linked_class_folder_is_left_out_under_its_class(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    photos = tmp_path / "photos"
    (photos / "a").mkdir(parents=True)
    (photos / "a" / "1.jpg").write_bytes(b"x")
    (photos / "b").symlink_to(tmp_path / "elsewhere")
    listing = FolderSource(images=str(photos)).list_photos()
    assert [(row.id, row.reason, row.class_name) for row in listing.quarantined] == [
        ("b", LINKED_FOLDER, "b")
    ]


def test_a_folder_without_class_folders_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"x")
    with pytest.raises(SourceError, match="no class folder"):
        FolderSource(images=str(tmp_path)).list_photos()
