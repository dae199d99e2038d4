"""Odd photos on their whole way: records, canvases, training and evaluation pictures."""

import dataclasses
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.trainer.input.test_decoding import encoded, jpeg_that_declares, png_that_declares
from tfrecords_builder.manifest import Shard, Split
from tfrecords_builder.records import Record, frame_parts, make_example
from trainer.augment.batch import augment_batch, evaluation_batch
from trainer.augment.config import Augmentation
from trainer.errors import DataError
from trainer.input.canvases import Canvases


def sixteen_bits() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.linspace(0, 65535, 30 * 20).reshape(20, 30).astype(np.uint16)).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


ODD = {
    "one pixel": encoded(1, 1, kind="JPEG"),
    "a line down": encoded(1, 10_000),
    "a line across": encoded(10_000, 1, kind="JPEG"),
    "grey": encoded(50, 30, "L", "JPEG"),
    "16 bits": sixteen_bits(),
}


def write_split(folder: Path, photos: dict[str, bytes]) -> Split:
    data, offsets = b"", []
    for name, photo in photos.items():
        offsets.append(len(data))
        data += b"".join(frame_parts(make_example(Record(id=name, label=0, image=photo))))
    (folder / "odd").write_bytes(data)
    shard = Shard(
        file="odd",
        num_examples=len(photos),
        num_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        offsets=tuple(offsets),
    )
    return Split(
        name="train",
        num_examples=len(photos),
        class_counts=(len(photos),),
        labelled=True,
        shards=(shard,),
    )


@pytest.mark.parametrize("resize", ["squash", "center_crop", "pad"])
def test_every_odd_photo_becomes_a_picture(resize: str, tmp_path: Path) -> None:
    split = write_split(tmp_path, ODD)
    canvases = Canvases(str(tmp_path), split, 32, "none")
    rows = canvases.gather(np.arange(len(ODD)))
    canvases.close()
    config = Augmentation(
        resize=resize, crop_area=(0.3, 1.0), mirror=0.5, clahe="always", adaptive_gamma="always"
    )
    seeds = tf.zeros([len(ODD), 2], tf.int32)
    labels = tf.ones([len(ODD), 1])
    shown = evaluation_batch(rows.images, rows.aspects, config, 24, kernels="matrix").numpy()
    trained, _ = augment_batch(
        rows.images, rows.aspects, labels, seeds, config, 24, kernels="matrix"
    )
    for images in (shown, trained.numpy()):
        assert images.shape == (len(ODD), 24, 24, 3)
        assert np.isfinite(images).all()
        assert images.min() >= 0
        assert images.max() <= 255.01


def test_aspects_of_odd_photos_are_their_own(tmp_path: Path) -> None:
    canvases = Canvases(str(tmp_path), write_split(tmp_path, ODD), 16, "memory")
    aspects = canvases.gather(np.arange(len(ODD))).aspects
    canvases.close()
    np.testing.assert_allclose(aspects, [1, 1e-4, 1e4, 5 / 3, 1.5], rtol=1e-6)


@pytest.mark.parametrize(
    "photo",
    [png_that_declares(20_000, 20_000), jpeg_that_declares(20_000, 20_000), b"", b"no photo"],
    ids=["png", "jpeg", "empty", "text"],
)
def test_what_cannot_be_used_names_the_photo_and_what_to_do(photo: bytes, tmp_path: Path) -> None:
    split = write_split(tmp_path, {"good": ODD["grey"], "bad one": photo})
    for cache in ("memory", "none"):
        canvases = Canvases(str(tmp_path), dataclasses.replace(split), 16, cache)
        with pytest.raises(DataError, match=r"'bad one'.*tfrecords_builder\.verify"):
            canvases.gather(np.arange(2))
        canvases.close()
