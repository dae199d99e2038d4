"""Pictures of what the network sees: from the records to the file and to TensorBoard."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from tests.trainer.making import make_recipe, make_stage
from tfrecords_builder.manifest import load_manifest
from trainer.augment.config import Augmentation
from trainer.input.decoding import decode_canvas
from trainer.recipe import Recipe
from trainer.report.previews import stage_preview, write_preview, write_previews


def recipe() -> Recipe:
    mirror, both = Augmentation(mirror=0.5), Augmentation(mirror=0.5, clahe="always")
    return make_recipe(
        make_stage(name="small", image_px=24, augmentation=mirror),
        make_stage(name="large", image_px=32, augmentation=both),
    )


def size_of(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        return picture.size


def test_the_file_shows_every_stage(cars: Path, tmp_path: Path) -> None:
    file = tmp_path / "sheet.png"
    manifest = load_manifest(str(cars))
    write_preview(str(file), recipe(), manifest, str(cars), seed=3)
    two = size_of(file)
    one_stage = make_recipe(recipe().stages[0])
    write_preview(str(file), one_stage, manifest, str(cars), seed=3)
    one = size_of(file)
    assert two[1] == 2 * one[1]
    assert two[0] > one[0]  # The second stage has a column for CLAHE.


def test_photos_are_those_of_the_records(cars: Path) -> None:
    from tfrecords_builder.records import read_records

    manifest = load_manifest(str(cars))
    photos = [
        decode_canvas(record.image, 32)[0].tobytes()
        for shard in manifest.splits["train"].shards
        for record in read_records(cars / shard.file)
    ]
    preview = stage_preview(make_stage(image_px=24), manifest, str(cars), seed=0)
    assert preview.canvases.shape == (4, 32, 32, 3)
    assert {canvas.tobytes() for canvas in preview.canvases} <= set(photos)
    again = stage_preview(make_stage(image_px=24), manifest, str(cars), seed=0)
    np.testing.assert_array_equal(preview.canvases, again.canvases)


def test_tensorboard_gets_an_image_a_stage(cars: Path, tmp_path: Path) -> None:
    write_previews(str(tmp_path), recipe(), load_manifest(str(cars)), str(cars), seed=0)
    (file,) = (tmp_path / "tensorboard" / "previews").iterdir()
    tags = {
        value.tag
        for record in tf.data.TFRecordDataset(str(file))
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value
    }
    assert tags == {"what the network sees/small", "what the network sees/large"}
