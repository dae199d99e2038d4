"""Image classification sets of TensorFlow Datasets, by name or by folder.

TensorFlow Datasets (and with it TensorFlow) is imported once, to find files, features and class
names. The records themselves are read without it, so the worker processes stay light.
"""

import os
from dataclasses import dataclass
from typing import Any

from tfrecords_builder.records import RecordError, parse_features, read_frame_at, read_frames
from tfrecords_builder.sources.base import Listing, Photo, Quarantined
from tfrecords_builder.sources.photo_files import SourceError

_SPLITS = {"validation": "val", "val": "val", "test": "test"}
NO_LABEL = "no label to learn from"


@dataclass(frozen=True, kw_only=True, slots=True)
class TfdsSource:
    """Splits called validation and test are kept; every other split is for the builder to divide.

    The id of a photo is <split>-<number>.
    """

    dataset: str
    """Name as in `tfds.builder(name)`, or a folder that `tfds.builder_from_directory` opens."""
    data_dir: str | None = None
    """Where TFDS keeps its data sets; None is its own default."""

    def list_photos(self) -> Listing:
        """Reads sizes and labels of all records.

        Raises:
          SourceError: there is no such data set, or it is none of labelled images.
        """
        builder = _open(self.dataset, self.data_dir)
        image, label = _feature_names(builder, self.dataset)
        class_names = tuple(builder.info.features[label].names)
        photos: list[Photo] = []
        quarantined: list[Quarantined] = []
        for split_name, split in builder.info.splits.items():
            number = 0
            for path in map(str, split.filepaths):
                if ".tfrecord" not in os.path.basename(path):
                    raise SourceError(
                        f"{path!r} is no TFRecord file; prepare the data set with "
                        "file_format='tfrecord'"
                    )
                with open(path, "rb") as file:
                    for offset, data in read_frames(file, path):
                        features = parse_features(data)
                        photo = Photo(
                            id=f"{split_name}-{number:06d}",
                            class_name=_class_name(features[label], class_names),
                            locator=f"{offset} {image} {path}",
                            num_bytes=len(features[image][0]),  # type: ignore[arg-type]
                            version=str(os.stat(path).st_mtime_ns),
                            split=_SPLITS.get(split_name),
                        )
                        number += 1
                        if photo.class_name is None and photo.split != "test":
                            quarantined.append(
                                Quarantined(id=photo.id, locator=photo.locator, reason=NO_LABEL)
                            )
                        else:
                            photos.append(photo)
        return Listing(
            photos=tuple(photos),
            quarantined=tuple(quarantined),
            class_names=class_names,
            description={"kind": "tfds", "dataset": self.dataset},
        )

    def read(self, photo: Photo) -> bytes:
        """Returns the encoded image of one record."""
        offset, image, path = photo.locator.split(" ", maxsplit=2)
        try:
            with open(path, "rb") as file:
                (data,) = parse_features(read_frame_at(file, path, int(offset)))[image]
        except RecordError as error:
            raise OSError(str(error)) from error
        assert isinstance(data, bytes), "an image feature holds bytes"
        return data


def _open(dataset: str, data_dir: str | None) -> Any:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise SourceError(
            "--source=tfds needs TensorFlow Datasets, which is not installed; "
            "install it with: pip install tensorflow-datasets"
        ) from error
    if os.path.isdir(dataset):
        if not os.path.exists(os.path.join(dataset, "dataset_info.json")):
            raise SourceError(
                f"folder {dataset!r} is no data set of TFDS; "
                "give the folder that holds its dataset_info.json"
            )
        return tfds.builder_from_directory(dataset)
    try:
        builder = tfds.builder(dataset, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise SourceError(
            f"TFDS knows no data set {dataset!r} ({_first_line(error)}); give a name from "
            "https://www.tensorflow.org/datasets/catalog or a folder"
        ) from error
    if not builder.is_prepared():
        try:
            builder.download_and_prepare()
        except Exception as error:  # The network, a moved file, a manual download, ...
            raise SourceError(
                f"TFDS cannot prepare {dataset!r} ({_first_line(error)}); prepare it another way "
                "and give its folder"
            ) from error
    return builder


def _feature_names(builder: Any, dataset: str) -> tuple[str, str]:
    kinds: dict[str, list[str]] = {"Image": [], "ClassLabel": []}
    for name, feature in builder.info.features.items():
        kind = type(feature).__name__
        if kind in kinds:
            kinds[kind].append(name)
    if any(len(names) != 1 for names in kinds.values()):
        raise SourceError(
            f"data set {dataset!r} has the images {kinds['Image']} and the labels "
            f"{kinds['ClassLabel']}, needs exactly one of each; give an image classification set"
        )
    return kinds["Image"][0], kinds["ClassLabel"][0]


def _class_name(label: Any, class_names: tuple[str, ...]) -> str | None:
    """Returns the class; TFDS writes -1 where a test set has no labels."""
    return class_names[label[0]] if label[0] >= 0 else None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
