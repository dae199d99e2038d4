"""Files, local or in a bucket, by their path."""

from pathlib import Path

import pytest

from tfrecords_builder import storage
from tfrecords_builder.errors import UserError


def test_the_folder_of_a_file_to_come_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "report.html"
    for _ in range(2):
        storage.make_folder_of(str(path))
    storage.write_bytes(str(path), b"page")
    assert path.read_bytes() == b"page"


def test_a_bucket_needs_no_folder() -> None:
    storage.make_folder_of("gs://bucket/folder/report.html")


def test_a_place_that_takes_no_file_is_an_error_in_advance(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*; choose another"):
        storage.make_folder_of(str(tmp_path / "file" / "report.html"))
    with pytest.raises(UserError, match="it is a folder"):
        storage.make_folder_of(str(tmp_path))
