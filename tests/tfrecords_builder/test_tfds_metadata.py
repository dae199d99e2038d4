"""TensorFlow Datasets opens a built folder by itself."""

from pathlib import Path

import numpy as np
import pytest

from tests.tfrecords_builder.photos import make_photo, write_photos
from tfrecords_builder.build import BuildSettings, build
from tfrecords_builder.records import read_records
from tfrecords_builder.sources.competition import CompetitionSource
from tfrecords_builder.sources.folder import FolderSource


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorflow_datasets_reads_every_value(photo_folder: Path, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    tfds = pytest.importorskip("tensorflow_datasets")
    out = tmp_path / "out"
    manifest = build(FolderSource(images=str(photo_folder)), BuildSettings(out=str(out))).manifest
    builder = tfds.builder_from_directory(str(out))
    assert builder.info.features["label"].names == list(manifest.classes)
    assert set(builder.info.splits) == set(manifest.splits)
    for name, split in manifest.splits.items():
        assert builder.info.splits[name].num_examples == split.num_examples
        written = {
            record.id: record for shard in split.shards for record in read_records(out / shard.file)
        }
        for example in builder.as_dataset(split=name).as_numpy_iterator():
            record = written.pop(example["id"].decode())
            assert example["label"] == record.label
            decoded = tf.io.decode_image(record.image, channels=3)
            np.testing.assert_array_equal(example["image"], decoded)
        assert not written


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_file_without_records_does_no_harm(tmp_path: Path) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    write_photos(tmp_path / "train", {"a": 2, "b": 2})
    (tmp_path / "test").mkdir()
    for number in range(64):
        # The first file of two gets nothing but broken photos.
        data = b"" if number < 32 else make_photo(number)
        (tmp_path / "test" / f"{number:02}.jpg").write_bytes(data)
    rows = [f"{name}/{number}.jpg,{name}" for name in "ab" for number in range(2)]
    (tmp_path / "train.csv").write_text("\n".join(["Id,Category", *rows]))
    source = CompetitionSource(
        images=str(tmp_path / "train"),
        labels=str(tmp_path / "train.csv"),
        test_images=str(tmp_path / "test"),
    )
    manifest = build(source, BuildSettings(out=str(tmp_path / "out"))).manifest
    assert [shard.num_examples for shard in manifest.splits["test"].shards] == [0, 32]
    test = tfds.builder_from_directory(str(tmp_path / "out")).as_dataset(split="test")
    labels = [example["label"] for example in test.as_numpy_iterator()]
    assert labels == [-1] * 32
