"""Writes a SavedModel for TensorFlow and TensorFlow Serving; no code of this project is needed."""

from pathlib import Path

import tensorflow as tf

from trainer.exporting.contract import (
    CLASSES,
    INPUT,
    PROBABILITIES,
    SAVED_MODEL_FOLDER,
    Contract,
    contract_files,
)
from trainer.exporting.decoding import decode_and_prepare
from trainer.exporting.graph import PixelModel

ENCODED = "encoded"
PIXELS_SIGNATURE = "pixels"


def write_saved_model(model: PixelModel, contract: Contract, folder: Path) -> None:
    """Writes the folder; signatures:

    `serving_default`: `encoded` string [B], files of any size -> `classes` string [B, K] and
    `probabilities` float32 [B, K]. `pixels`: as every exported file.
    """
    px = contract.image_px
    names = tf.constant(list(contract.classes))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=ENCODED)], autograph=False)
    def on_encoded(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        image = decode_and_prepare(encoded, contract.geometry, px)
        probabilities = model(image)[PROBABILITIES]
        classes = tf.tile(names[tf.newaxis], [tf.shape(probabilities)[0], 1])
        return {CLASSES: classes, PROBABILITIES: probabilities}

    @tf.function(
        input_signature=[tf.TensorSpec([None, px, px, 3], tf.uint8, name=INPUT)], autograph=False
    )
    def on_pixels(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(model(image))

    tf.saved_model.save(
        model,
        str(folder),
        signatures={"serving_default": on_encoded, PIXELS_SIGNATURE: on_pixels},
    )
    extra = folder / SAVED_MODEL_FOLDER
    extra.mkdir()
    for name, text in contract_files(contract).items():
        (extra / name).write_text(text)
