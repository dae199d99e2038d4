"""Listing a folder finds the photos and nothing outside."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecords_builder.sources import photo_files
from tfrecords_builder.sources.photo_files import (
    SourceError,
    list_photo_files,
    natural_key,
    read_photo_file,
)


def names(folder: Path) -> list[str]:
    return [file.relative_path for file in list_photo_files(str(folder))]


def touch(folder: Path, *relative_paths: str) -> None:
    for relative_path in relative_paths:
        path = folder / relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_files_come_in_natural_order(tmp_path: Path) -> None:
    touch(tmp_path, "b/10.jpg", "b/9.jpg", "a/1.jpg", "10/1.jpg", "9/1.jpg")
    assert names(tmp_path) == ["9/1.jpg", "10/1.jpg", "a/1.jpg", "b/9.jpg", "b/10.jpg"]


def test_hidden_and_system_files_are_no_photos(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", ".git/x.jpg")
    assert names(tmp_path) == ["a.jpg"]


@pytest.mark.parametrize("name", ["missing", "file", "empty"])
def test_a_folder_without_photos_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with pytest.raises(SourceError, match="photo folder"):
        list_photo_files(str(tmp_path / name))


def test_a_folder_that_cannot_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"cannot be listed \(.*Permission denied: .*\)"):
        list_photo_files(str(tmp_path))


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "secret", "photos/a.jpg")
    photos = tmp_path / "photos"
    (photos / "out.jpg").symlink_to(tmp_path / "secret")
    (photos / "broken.jpg").symlink_to(photos / "nothing")
    (photos / "inside.jpg").symlink_to(photos / "a.jpg")
    (photos / "folder").symlink_to(tmp_path)
    refused = {file.relative_path: bool(file.refusal) for file in list_photo_files(str(photos))}
    expected = {"a.jpg": False, "inside.jpg": False, "out.jpg": True, "broken.jpg": True}
    assert refused == {**expected, "folder": True}


def test_names_that_are_not_text_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b\n.jpg", "c\udcff.jpg")
    refused = {file.relative_path for file in list_photo_files(str(tmp_path)) if file.refusal}
    assert refused == {"b\n.jpg", "c\udcff.jpg"}


def test_a_giant_file_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_files, "MAX_FILE_BYTES", 10)
    touch(tmp_path, "small")
    (tmp_path / "giant").write_bytes(bytes(11))
    assert read_photo_file(str(tmp_path / "small")) == b"x"
    with pytest.raises(OSError, match="larger than"):
        read_photo_file(str(tmp_path / "giant"))
    refusals = {file.relative_path: file.refusal for file in list_photo_files(str(tmp_path))}
    assert refusals == {"giant": photo_files.TOO_LARGE, "small": None}


@given(st.lists(st.text("01289ab²٣")))
def test_any_names_can_be_ordered(texts: list[str]) -> None:
    assert sorted(sorted(texts), key=natural_key) == sorted(texts, key=natural_key)


def test_numbers_are_ordered_as_numbers() -> None:
    assert sorted(["a10", "a9", "10", "9"], key=natural_key) == ["9", "10", "a9", "a10"]
