"""The two JSON files that let TensorFlow Datasets open a data folder by itself.

They are written without importing it, which takes seconds; a test opens the result with
`tfds.builder_from_directory` and reads every value back.
"""

import json
from typing import Any

from tfrecords_builder.manifest import Manifest

_FEATURES = "tensorflow_datasets.core.features"


def tfds_files(manifest: Manifest) -> dict[str, str]:
    """Returns file name -> text of the metadata files of TensorFlow Datasets."""
    return {
        "features.json": _dumps(_features(manifest)),
        "label.labels.txt": "".join(f"{name}\n" for name in manifest.classes),
        "dataset_info.json": _dumps(_dataset_info(manifest)),
    }


def _features(manifest: Manifest) -> dict[str, Any]:
    text = {"pythonClassName": f"{_FEATURES}.text_feature.Text", "text": {}}
    image = {
        "pythonClassName": f"{_FEATURES}.image_feature.Image",
        "image": {
            "shape": {"dimensions": ["-1", "-1", "3"]},
            "dtype": "uint8",
            "encodingFormat": "jpeg",
        },
    }
    label = {
        "pythonClassName": f"{_FEATURES}.class_label_feature.ClassLabel",
        "classLabel": {"numClasses": str(len(manifest.classes))},
    }
    return {
        "pythonClassName": f"{_FEATURES}.features_dict.FeaturesDict",
        "featuresDict": {"features": {"id": text, "image": image, "label": label}},
    }


def _dataset_info(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "version": "1.0.0",
        "description": f"{len(manifest.classes)} classes of photos.",
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": split.name,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "numBytes": str(sum(shard.num_bytes for shard in split.shards)),
                "shardLengths": [str(shard.num_examples) for shard in split.shards],
            }
            for split in manifest.splits.values()
        ],
    }


def _dumps(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
