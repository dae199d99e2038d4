"""Data sets of TensorFlow Datasets as a source."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tfrecords_builder.photos import make_image
from tfrecords_builder.build import BuildSettings, build
from tfrecords_builder.records import read_records
from tfrecords_builder.sources.photo_files import SourceError
from tfrecords_builder.sources.tfds_dataset import TfdsSource

pytestmark = pytest.mark.filterwarnings("ignore")  # TFDS and what it imports warn of much.


@pytest.fixture(scope="module")
def tfds() -> Any:
    pytest.importorskip("tensorflow")
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def prepared(tfds: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store(tfds, tmp_path_factory.mktemp("tfds"), "small", labels=np.arange(14) % 2)


def store(tfds: Any, folder: Path, name: str, labels: np.ndarray) -> Path:
    """A small set written by TFDS itself: PNG images, 10 to train and 4 to test."""
    import tensorflow as tf

    images = np.stack([np.asarray(make_image(seed)) for seed in range(14)])

    def split(part: slice) -> Any:
        content = {"picture": images[part], "kind": labels[part]}
        return tf.data.Dataset.from_tensor_slices(content)

    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {
                "picture": tfds.features.Image(shape=(30, 40, 3)),
                "kind": tfds.features.ClassLabel(names=["van", "coupe"]),
            }
        ),
        split_datasets={"train": split(slice(0, 10)), "test": split(slice(10, 14))},
        data_dir=str(folder),
        disable_shuffling=True,
    )
    return Path(builder.data_path)


def test_splits_labels_and_class_order_are_kept(prepared: Path) -> None:
    listing = TfdsSource(dataset=str(prepared)).list_photos()
    assert listing.class_names == ("van", "coupe")
    assert [photo.split for photo in listing.photos].count("test") == 4
    train = [photo for photo in listing.photos if photo.split is None]
    assert [photo.class_name for photo in train] == ["van", "coupe"] * 5


def test_photos_without_a_label_are_not_trained_on(tfds: Any, tmp_path: Path) -> None:
    builder = store(tfds, tmp_path, "partly", labels=np.array([0, 1, -1, 0, 1, -1] * 2 + [-1, 0]))
    listing = TfdsSource(dataset=str(builder)).list_photos()
    in_test = [photo.class_name for photo in listing.photos if photo.split == "test"]
    assert in_test == ["coupe", None, None, "van"]
    assert {row.id for row in listing.quarantined} == {
        "train-000002",
        "train-000005",
        "train-000008",
    }
    assert {row.reason for row in listing.quarantined} == {"no label to learn from"}


def test_a_build_stores_the_same_pictures(prepared: Path, tmp_path: Path) -> None:
    source = TfdsSource(dataset=str(prepared))
    settings = BuildSettings(out=str(tmp_path / "out"))
    result = build(source, settings)
    assert result.changes == {"format PNG": 14}
    test = result.manifest.splits["test"]
    assert test.labelled
    records = list(read_records(tmp_path / "out" / test.shards[0].file))
    assert [(record.id, record.label) for record in records] == [
        ("test-000000", 0),
        ("test-000001", 1),
        ("test-000002", 0),
        ("test-000003", 1),
    ]


def test_a_built_folder_is_a_source_itself(prepared: Path, tmp_path: Path) -> None:
    first = build(TfdsSource(dataset=str(prepared)), BuildSettings(out=str(tmp_path / "first")))
    source = TfdsSource(dataset=str(tmp_path / "first"))
    second = build(source, BuildSettings(out=str(tmp_path / "second")))
    assert second.num_converted == 0
    assert second.manifest.classes == first.manifest.classes
    assert {name: split.class_counts for name, split in second.manifest.splits.items()} == {
        name: split.class_counts for name, split in first.manifest.splits.items()
    }


def test_a_data_set_that_cannot_be_downloaded_is_an_error(
    tfds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Moved:
        def is_prepared(self) -> bool:
            return False

        def download_and_prepare(self) -> None:
            raise ConnectionError("404: not found\nmore")

    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: Moved())
    with pytest.raises(SourceError, match=r"cannot prepare 'cars196' \(404: not found\)"):
        TfdsSource(dataset="cars196", data_dir=str(tmp_path)).list_photos()


@pytest.mark.parametrize("dataset", ["", "no_such_data_set_at_all"])
def test_what_is_no_data_set_is_an_error(tfds: Any, tmp_path: Path, dataset: str) -> None:
    with pytest.raises(SourceError, match="TFDS"):
        TfdsSource(dataset=dataset or str(tmp_path), data_dir=str(tmp_path)).list_photos()
