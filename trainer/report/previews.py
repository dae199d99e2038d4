"""What the network will see, stage by stage: as a picture file, and as images for TensorBoard."""

import os
from dataclasses import replace

import numpy as np
import tensorflow as tf

from tfrecords_builder.manifest import Manifest
from trainer.augment.contact_sheet import StagePreview, contact_sheet, write_contact_sheet
from trainer.augment.kernels import default_kernels_are
from trainer.input.canvases import Canvases, canvas_px_of
from trainer.order import epoch_order
from trainer.recipe import Recipe, Stage
from trainer.report.tensorboard import folder_of

_NUM_PHOTOS = 4


def write_preview(path: str, recipe: Recipe, manifest: Manifest, data_dir: str, seed: int) -> None:
    """Writes one PNG file, local or gs://, with a block of pictures for every stage.

    Rows are photos of the training split, drawn by the seed; columns are the stored canvas, the
    evaluation picture, each operation alone, and what training really sees, twice.

    Raises:
        DataError: a photo cannot be read or decoded.
    """
    with default_kernels_are("matrix"):
        stages = [stage_preview(stage, manifest, data_dir, seed) for stage in recipe.stages]
        write_contact_sheet(path, stages, seed=seed)


def write_previews(
    run_dir: str, recipe: Recipe, manifest: Manifest, data_dir: str, seed: int
) -> None:
    """Writes the same blocks as TensorBoard images, one a stage, below the run folder."""
    writer = tf.summary.create_file_writer(os.path.join(folder_of(run_dir), "previews"))
    with default_kernels_are("matrix"), writer.as_default(step=0):
        for stage in recipe.stages:
            sheet = contact_sheet([stage_preview(stage, manifest, data_dir, seed)], seed=seed)
            tf.summary.image(f"what the network sees/{stage.name}", sheet[None])
    writer.close()


def stage_preview(
    stage: Stage, manifest: Manifest, data_dir: str, seed: int, num_photos: int = _NUM_PHOTOS
) -> StagePreview:
    """Canvases of a few training photos as the stage would store them.

    They come from one shard, so that of a bucket only that is fetched.
    """
    train = manifest.splits["train"]
    shards = tuple(shard for shard in train.shards if shard.num_examples)
    shard = shards[seed % len(shards)]
    split = replace(train, shards=(shard,), num_examples=shard.num_examples)
    canvases = Canvases(data_dir, split, canvas_px_of(stage.image_px), "none")
    rows = canvases.gather(np.sort(epoch_order(seed, 0, shard.num_examples)[:num_photos]))
    canvases.close()
    return StagePreview(
        name=stage.name,
        augmentation=stage.augmentation,
        image_px=stage.image_px,
        canvases=rows.images,
        aspect=rows.aspects,
    )
