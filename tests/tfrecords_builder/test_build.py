"""A whole build: exact, complete, repeatable, and honest about what it left out."""

import csv
import dataclasses
import errno
import io
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tfrecords_builder.data_folder import files_of
from tests.tfrecords_builder.photos import encode_image, make_photo, write_photos
from tfrecords_builder import storage
from tfrecords_builder.build import BuildError, BuildResult, BuildSettings, build
from tfrecords_builder.build_folder import BuildFolder, BuildFolderError
from tfrecords_builder.encoding import EncodingSettings
from tfrecords_builder.manifest import MissingRow, load_manifest
from tfrecords_builder.records import Record, read_records, read_records_at
from tfrecords_builder.sources.base import Photo
from tfrecords_builder.sources.competition import CompetitionSource
from tfrecords_builder.sources.folder import FolderSource
from tfrecords_builder.splits import SplitSettings


def build_folder_source(photos: Path, out: Path, **settings: object) -> BuildResult:
    return build(FolderSource(images=str(photos)), BuildSettings(out=str(out), **settings))


def stored(out: Path) -> dict[str, Record]:
    return {
        record.id: record
        for split in load_manifest(str(out)).splits.values()
        for shard in split.shards
        for record in read_records(out / shard.file)
    }


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_every_photo_is_stored_once_with_its_bytes_and_label(
    photo_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = build_folder_source(photo_folder, out)
    records = stored(out)
    for path in photo_folder.rglob("*.jpg"):
        record = records.pop(str(path.relative_to(photo_folder)))
        assert record.image == path.read_bytes()
        assert result.manifest.classes[record.label] == path.parent.name
    assert not records
    assert (result.num_converted, result.num_quarantined) == (0, 0)


def test_the_manifest_counts_what_the_files_hold(photo_folder: Path, tmp_path: Path) -> None:
    manifest = build_folder_source(photo_folder, tmp_path / "out").manifest
    assert manifest == load_manifest(str(tmp_path / "out"))
    assert sum(split.num_examples for split in manifest.splits.values()) == 72
    for split in manifest.splits.values():
        labels: Counter[int] = Counter()
        for shard in split.shards:
            path = tmp_path / "out" / shard.file
            found = list(read_records_at(path, shard.offsets))
            assert len(found) == shard.num_examples
            assert path.stat().st_size == shard.num_bytes
            labels.update(record.label for record in found)
        assert tuple(labels[label] for label in range(3)) == split.class_counts


def test_the_bytes_do_not_depend_on_the_number_of_workers(
    photo_folder: Path, tmp_path: Path
) -> None:
    for num_workers in (1, 3):
        build_folder_source(photo_folder, tmp_path / str(num_workers), num_workers=num_workers)
    assert files_of(tmp_path / "1") == files_of(tmp_path / "3")


def test_the_same_build_again_does_nothing(photo_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = build_folder_source(photo_folder, out)
    times = {path: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()}
    second = build_folder_source(photo_folder, out)
    assert first.num_shards_written > 0
    assert second == dataclasses.replace(first, num_shards_written=0)
    assert times == {path: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()}


def test_a_lost_file_is_written_again_and_only_that(photo_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_folder_source(photo_folder, out)
    before = files_of(out)
    next(out.glob("dataset-train*")).unlink()
    assert build_folder_source(photo_folder, out).num_shards_written == 1
    assert files_of(out) == before


def test_a_changed_photo_rebuilds_its_file_only(photo_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_folder_source(photo_folder, out)
    (photo_folder / "van" / "3.jpg").write_bytes(make_photo(9999))
    assert build_folder_source(photo_folder, out).num_shards_written == 1
    assert stored(out)["van/3.jpg"].image == make_photo(9999)
    build_folder_source(photo_folder, tmp_path / "fresh")
    assert files_of(out) == files_of(tmp_path / "fresh")


def test_other_settings_leave_nothing_of_the_old_build(photo_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_folder_source(photo_folder, out)
    other = SplitSettings(seed=5, val_fraction=0.5)
    build_folder_source(photo_folder, out, split=other)
    build_folder_source(photo_folder, tmp_path / "fresh", split=other)
    assert files_of(out) == files_of(tmp_path / "fresh")


def sides_of(out: Path) -> dict[str, str]:
    return {row["id"]: row["split"] for row in table(out / "records.csv")}


def test_photos_stay_on_their_side_when_others_are_added(
    photo_folder: Path, tmp_path: Path
) -> None:
    build_folder_source(photo_folder, tmp_path / "out")
    before = sides_of(tmp_path / "out")
    for number in range(100, 140):
        (photo_folder / "van" / f"{number}.jpg").write_bytes(make_photo(number + 7000))
    build_folder_source(photo_folder, tmp_path / "out")
    build_folder_source(photo_folder, tmp_path / "new", keep_splits_of=str(tmp_path / "out"))
    for out in ("out", "new"):
        after = sides_of(tmp_path / out)
        assert before.items() <= after.items()
        assert sum(split == "val" for split in after.values()) == round(0.15 * 64) + 2 * 4


def test_the_manifest_names_the_fold(photo_folder: Path, tmp_path: Path) -> None:
    split = SplitSettings(num_folds=3, fold=1)
    manifest = build_folder_source(photo_folder, tmp_path / "out", split=split).manifest
    assert manifest.source["fold"] == "1 of 3, counted from 0"


def test_splits_can_only_be_kept_of_a_build(photo_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="holds no earlier build"):
        build_folder_source(photo_folder, tmp_path / "out", keep_splits_of=str(tmp_path))


def test_a_shard_that_rotted_before_the_manifest_was_written_is_made_again(
    photo_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    build_folder_source(photo_folder, out)
    before = files_of(out)
    (out / "manifest.json").unlink()
    shard = next(out.glob("dataset-train*"))
    shard.write_bytes(bytes(shard.stat().st_size))
    assert build_folder_source(photo_folder, out).num_shards_written == 1
    assert files_of(out) == before


def test_a_build_that_was_killed_at_once_can_be_started_again(
    photo_folder: Path, tmp_path: Path
) -> None:
    state = tmp_path / "out" / ".build"
    state.mkdir(parents=True)
    (state / "lock").touch()
    (state / "source.json.123.tmp").write_bytes(b"")
    build_folder_source(photo_folder, tmp_path / "out")
    build_folder_source(photo_folder, tmp_path / "fresh")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "fresh")


@pytest.mark.parametrize("name", ["features.json", "label.labels.txt", "records.csv"])
def test_a_lost_table_is_written_again(photo_folder: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    build_folder_source(photo_folder, out)
    before = files_of(out)
    (out / name).unlink()
    assert build_folder_source(photo_folder, out).num_shards_written == 0
    assert files_of(out) == before


def test_a_file_that_listing_leaves_out_is_named_even_if_no_record_changes(
    photo_folder: Path, tmp_path: Path
) -> None:
    build_folder_source(photo_folder, tmp_path / "out")
    (photo_folder / "van" / "link.jpg").symlink_to("/etc/passwd")
    assert build_folder_source(photo_folder, tmp_path / "out").num_shards_written == 0
    (row,) = table(tmp_path / "out" / "quarantine.csv")
    assert row["id"] == "van/link.jpg"


def test_the_manifest_goes_before_the_first_file_of_an_old_plan(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    build_folder_source(photo_folder, out)
    (out / "dataset-train.tfrecord-00000-of-00099").write_bytes(b"old")
    remaining = []
    remove = storage.remove

    def watch(path: str) -> None:
        remove(path)
        remaining.append((out / "manifest.json").exists())

    monkeypatch.setattr(storage, "remove", watch)
    build_folder_source(photo_folder, out)
    assert remaining == [False, False]


def test_a_photo_that_could_not_be_read_is_tried_again(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: FolderSource, photo: Photo) -> bytes:
        if photo.id == "van/3.jpg":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return Path(photo.locator).read_bytes()

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(FolderSource, "read", fail)
        build_folder_source(photo_folder, out)
    (row,) = table(out / "quarantine.csv")
    assert row["reason"] == "cannot be read: Permission denied"
    assert build_folder_source(photo_folder, out).num_quarantined == 0
    build_folder_source(photo_folder, tmp_path / "fresh")
    assert files_of(out) == files_of(tmp_path / "fresh")


def test_temporary_files_of_a_killed_build_are_removed(photo_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_folder_source(photo_folder, out)
    before = files_of(out)
    for name in ("dataset-train.tfrecord-00000-of-00001", "manifest.json", ".build/x.json"):
        (out / f"{name}.123.tmp").write_bytes(b"half")
    build_folder_source(photo_folder, out)
    assert files_of(out) == before


def test_unusable_photos_are_left_out_with_their_reason(photo_folder: Path, tmp_path: Path) -> None:
    (photo_folder / "van" / "0.jpg").write_bytes(b"")
    (photo_folder / "van" / "1.jpg").write_bytes(b"<html>not found</html>")
    result = build_folder_source(photo_folder, tmp_path / "out")
    rows = {row["id"]: row["reason"] for row in table(tmp_path / "out" / "quarantine.csv")}
    assert rows["van/0.jpg"] == "empty file"
    assert "web page" in rows["van/1.jpg"]
    assert result.num_quarantined == len(rows) == 2
    assert len(table(tmp_path / "out" / "records.csv")) == len(stored(tmp_path / "out")) == 70


def test_a_class_without_usable_photos_is_an_error_and_leaves_no_manifest(
    photo_folder: Path, tmp_path: Path
) -> None:
    for path in (photo_folder / "van").iterdir():
        path.write_bytes(b"")
    with pytest.raises(BuildError, match=r"class 'van' has no usable photo .*'empty file'"):
        build_folder_source(photo_folder, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("content", ["notes.txt", "manifest.json", "dataset-train.tfrecord-0"])
def test_a_folder_that_holds_something_else_is_left_alone(
    photo_folder: Path, tmp_path: Path, content: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / content).write_text("precious")
    with pytest.raises(BuildFolderError, match="already holds something"):
        build_folder_source(photo_folder, out)
    assert files_of(out) == {content: b"precious"}


def test_the_data_of_another_source_is_left_alone(photo_folder: Path, tmp_path: Path) -> None:
    build_folder_source(photo_folder, tmp_path / "out")
    before = files_of(tmp_path / "out")
    write_photos(tmp_path / "others", {"a": 3, "b": 3})
    with pytest.raises(BuildFolderError, match="data of another source"):
        build_folder_source(tmp_path / "others", tmp_path / "out")
    assert files_of(tmp_path / "out") == before


def test_a_folder_is_the_same_source_with_and_without_a_slash(
    photo_folder: Path, tmp_path: Path
) -> None:
    build_folder_source(photo_folder, tmp_path / "out")
    source = FolderSource(images=f"{photo_folder}/")
    assert build(source, BuildSettings(out=str(tmp_path / "out"))).num_shards_written == 0


def test_photos_that_are_all_left_out_are_an_error_with_the_reason(
    photo_folder: Path, tmp_path: Path
) -> None:
    for path in photo_folder.rglob("*.jpg"):
        link = tmp_path / "links" / path.relative_to(photo_folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    with pytest.raises(BuildError, match=r"all 72 photos were left out; .*'symbolic link"):
        build_folder_source(tmp_path / "links", tmp_path / "out")


def test_splits_can_only_be_kept_of_the_same_photos(photo_folder: Path, tmp_path: Path) -> None:
    build_folder_source(photo_folder, tmp_path / "old")
    write_photos(tmp_path / "others", {"a": 3, "b": 3})
    with pytest.raises(BuildError, match=r"knows none of these photos: .*'a/0\.jpg'"):
        build_folder_source(
            tmp_path / "others", tmp_path / "new", keep_splits_of=str(tmp_path / "old")
        )


def test_an_out_among_the_photos_is_an_error(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(photo_folder)
    for out in (photo_folder / "out", tmp_path / "link" / "van" / "out", photo_folder):
        with pytest.raises(BuildFolderError, match="lies in the photo folder"):
            build_folder_source(photo_folder, out)
    assert not list(photo_folder.rglob("out"))
    build_folder_source(photo_folder, tmp_path / "photos and more")


def test_an_out_that_is_a_file_is_an_error(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(BuildFolderError, match="is a file"):
        build_folder_source(photo_folder, tmp_path / "out")


def test_two_builds_cannot_write_the_same_folder(photo_folder: Path, tmp_path: Path) -> None:
    source = FolderSource(images=str(photo_folder))
    description = source.list_photos().description
    with (
        BuildFolder(str(tmp_path / "out")).claimed_for(description),
        pytest.raises(BuildFolderError, match="another build is writing"),
    ):
        build(source, BuildSettings(out=str(tmp_path / "out")))


def test_the_number_of_files_follows_the_size_after_shrinking(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(14):
            noise = Image.fromarray(rng.integers(0, 256, (300, 300, 3), np.uint8))
            path = tmp_path / "photos" / name / f"{number}.jpg"
            path.write_bytes(encode_image(noise, "JPEG", quality=95))
    as_found = build_folder_source(tmp_path / "photos", tmp_path / "whole", shard_mb=1)
    small = EncodingSettings(max_px=100)
    shrunk = build_folder_source(
        tmp_path / "photos", tmp_path / "small", shard_mb=1, encoding=small
    )
    sizes = [shard.num_bytes for shard in as_found.manifest.splits["train"].shards]
    assert len(sizes) > 1
    assert max(sizes) < 1.6e6  # Hashes spread few photos unevenly.
    assert len(shrunk.manifest.splits["train"].shards) == 1


def test_unusable_test_photos_are_named_with_their_row(tmp_path: Path) -> None:
    write_photos(tmp_path / "train", {"a": 4, "b": 4})
    (tmp_path / "test").mkdir()
    for number in (7, 8, 9):
        (tmp_path / "test" / f"{number}.jpg").write_bytes(make_photo(number))
    (tmp_path / "test" / "7.jpg").write_bytes(b"")
    labels = [f"{name}/{number}.jpg,{name}" for name in "ab" for number in range(4)]
    (tmp_path / "train.csv").write_text("\n".join(["Id,Category", *labels]))
    (tmp_path / "sample.csv").write_text("Id,Category\n9.jpg,a\n7.jpg,a\n5.jpg,a\n8.jpg,a\n")
    source = CompetitionSource(
        images=str(tmp_path / "train"),
        labels=str(tmp_path / "train.csv"),
        test_images=str(tmp_path / "test"),
        sample_submission=str(tmp_path / "sample.csv"),
        quarantine_mismatches=True,
    )
    manifest = build(source, BuildSettings(out=str(tmp_path / "out"))).manifest
    assert manifest.submission is not None
    assert manifest.submission.missing == (
        MissingRow(position=1, id="7.jpg"),
        MissingRow(position=2, id="5.jpg"),
    )
    test = manifest.splits["test"]
    assert not test.labelled
    records = list(read_records(tmp_path / "out" / test.shards[0].file))
    assert [(record.id, record.label) for record in records] == [("9.jpg", -1), ("8.jpg", -1)]
