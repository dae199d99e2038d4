"""TensorFlow Datasets opens a built folder by itself."""

from pathlib import Path

import numpy as np
import pytest

from tfrecords_builder.build import BuildSettings, build
from tfrecords_builder.records import read_records
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
