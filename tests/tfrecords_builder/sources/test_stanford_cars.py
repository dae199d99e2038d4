"""The annotation files of Stanford Cars, made small and as they really are."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from tests.tfrecords_builder.photos import encode_image, make_photo
from tfrecords_builder.build import BuildSettings, build
from tfrecords_builder.encoding import EncodingSettings
from tfrecords_builder.records import read_records
from tfrecords_builder.sources.adjusted import AdjustedSource
from tfrecords_builder.sources.base import Box
from tfrecords_builder.sources.photo_files import SourceError
from tfrecords_builder.sources.stanford_cars import StanfordCarsSource, load_annotations

BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


def save_mat(path: Path, fields: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    annotations = np.array([tuple(row) for row in rows], dtype=[(name, object) for name in fields])
    scipy.io.savemat(path, {"annotations": annotations})


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    names = np.array(["Audi TT", "BMW X5"], dtype=object)
    scipy.io.savemat(tmp_path / "cars_meta.mat", {"class_names": names})
    train = [(11, 6, 30, 25, number % 2 + 1, f"{number}.jpg") for number in range(6)]
    save_mat(tmp_path / "cars_train_annos.mat", (*BOX, "class", "fname"), train)
    save_mat(tmp_path / "cars_test_annos.mat", (*BOX, "fname"), [(1, 1, 40, 30, "0.jpg")])
    for folder, count in (("cars_train", 6), ("cars_test", 1)):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for number in range(count):
            path = tmp_path / "photos" / folder / f"{number}.jpg"
            path.write_bytes(make_photo(number))
    return tmp_path


def make_source(devkit: Path) -> StanfordCarsSource:
    return StanfordCarsSource(images=str(devkit / "photos"), devkit=str(devkit))


def test_boxes_count_from_zero_and_end_after_the_last_pixel(devkit: Path) -> None:
    photo = make_source(devkit).list_photos().photos[0]
    assert photo.box == Box(left=10, top=5, right=30, bottom=25)


def test_train_and_test_files_become_splits(devkit: Path) -> None:
    photos = make_source(devkit).list_photos().photos
    assert [(photo.id, photo.class_name, photo.split) for photo in photos[5:]] == [
        ("cars_train/5.jpg", "BMW X5", None),
        ("cars_test/0.jpg", None, "test"),
    ]


def test_the_test_file_with_labels_is_preferred(devkit: Path) -> None:
    row = (1, 1, 40, 30, 2, "0.jpg")
    save_mat(devkit / "cars_test_annos_withlabels.mat", (*BOX, "class", "fname"), [row, row])
    with pytest.raises(SourceError, match="missing"):  # One photo stands in the file twice.
        make_source(devkit).list_photos()
    _, annotations = load_annotations(str(devkit))
    assert [(row.label, row.is_test) for row in annotations[6:]] == [(1, True), (1, True)]


def test_the_single_file_of_the_other_distribution_is_read(devkit: Path) -> None:
    fields = ("relative_im_path", *BOX, "class", "test")
    rows = [("car_ims/1.jpg", 1, 1, 9, 9, 1, 0), ("car_ims/2.jpg", 1, 1, 9, 9, 2, 1)]
    annotations = np.array(rows, dtype=[(name, object) for name in fields])
    names = np.array(["Audi TT", "BMW X5"], dtype=object)
    content = {"annotations": annotations, "class_names": names}
    scipy.io.savemat(devkit / "cars_annos.mat", content)
    names, found = load_annotations(str(devkit))
    assert names == ("Audi TT", "BMW X5")
    assert [(row.path, row.label, row.is_test) for row in found] == [
        ("car_ims/1.jpg", 0, False),
        ("car_ims/2.jpg", 1, True),
    ]


def test_a_missing_photo_is_an_error(devkit: Path) -> None:
    (devkit / "photos" / "cars_train" / "3.jpg").unlink()
    with pytest.raises(SourceError, match="1 annotated photos are missing"):
        make_source(devkit).list_photos()


@pytest.mark.parametrize("label", [0, 3])
def test_a_class_that_does_not_exist_is_an_error(devkit: Path, label: int) -> None:
    rows = [(1, 1, 9, 9, label, "0.jpg")] * 2
    save_mat(devkit / "cars_train_annos.mat", (*BOX, "class", "fname"), rows)
    with pytest.raises(SourceError, match="not the annotation files"):
        make_source(devkit).list_photos()


@pytest.mark.parametrize("content", [b"", b"not a matrix file", None])
def test_damaged_annotation_files_are_an_error(devkit: Path, content: bytes | None) -> None:
    path = devkit / "cars_meta.mat"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(SourceError):
        make_source(devkit).list_photos()


def test_a_flipped_byte_of_a_compressed_annotation_file_is_an_error(devkit: Path) -> None:
    path = devkit / "cars_meta.mat"
    content = {"class_names": np.array(["Audi TT", "BMW X5"], dtype=object)}
    scipy.io.savemat(path, content, do_compression=True)
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"cars_meta\.mat' cannot be read"):
        make_source(devkit).list_photos()


def test_photos_are_cropped_to_their_boxes(devkit: Path, tmp_path: Path) -> None:
    red_in_blue = Image.new("RGB", (40, 30), "blue")
    red_in_blue.paste("red", (10, 5, 30, 25))
    data = encode_image(red_in_blue, "JPEG", quality=100, subsampling=0)
    (devkit / "photos" / "cars_train" / "0.jpg").write_bytes(data)
    settings = BuildSettings(
        out=str(tmp_path / "out"), encoding=EncodingSettings(crop_margin=0, quality=100)
    )
    result = build(make_source(devkit), settings)
    assert result.changes == {"cropped to its box": 7}
    records = {
        record.id: record
        for split in result.manifest.splits.values()
        for shard in split.shards
        for record in read_records(tmp_path / "out" / shard.file)
    }
    pixels = np.asarray(Image.open(io.BytesIO(records["cars_train/0.jpg"].image)))
    assert pixels.shape == (20, 20, 3)
    assert np.abs(pixels.astype(int) - (255, 0, 0)).mean() < 12


def test_the_real_annotations_are_all_there(material: Path) -> None:
    class_names, annotations = load_annotations(str(material / "stanford_cars_devkit"))
    assert len(class_names) == 196
    counts = Counter(annotation.is_test for annotation in annotations)
    assert counts == {False: 8144, True: 8041}
    assert {annotation.label for annotation in annotations} == set(range(196))


def test_the_real_annotations_build_49_groups(material: Path, tmp_path: Path) -> None:
    devkit = str(material / "stanford_cars_devkit")
    _, annotations = load_annotations(devkit)
    of_class: Counter[tuple[int | None, bool]] = Counter()
    for row in annotations:
        of_class[row.label, row.is_test] += 1
        if of_class[row.label, row.is_test] > (1 if row.is_test else 2):
            continue
        path = tmp_path / "photos" / row.path
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = Image.new("L", (int(row.box.right) + 5, int(row.box.bottom) + 5))
        path.write_bytes(encode_image(frame, "JPEG", quality=10))
    source = AdjustedSource(
        source=StanfordCarsSource(
            images=str(tmp_path / "photos"), devkit=devkit, quarantine_mismatches=True
        ),
        regroup="stanford_cars",
    )
    settings = BuildSettings(
        out=str(tmp_path / "out"),
        encoding=EncodingSettings(crop_margin=0.05, max_px=32),
        num_workers=2,
    )
    manifest = build(source, settings).manifest
    assert len(manifest.classes) == 49
    assert manifest.splits["test"].num_examples == 196
    assert manifest.splits["test"].labelled
    num_train, num_val = (manifest.splits[name].num_examples for name in ("train", "val"))
    assert num_train + num_val == 2 * 196
