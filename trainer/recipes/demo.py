"""Rendered cars of ten body types with a small network from nothing: shows every part at work.

    make demo

Expect an accuracy of at least 0.90 on held-out cars (chance: 0.10) in about three minutes on two
CPU cores. The stages have the shape of the real thing: all of it at a small size, then a finish at
a larger one with the BatchNorm frozen.
"""

from trainer.augment.config import Augmentation
from trainer.recipe import Recipe, Stage

_AUGMENTATION = Augmentation(crop_area=(0.6, 1.0), mirror=0.5, brightness=0.2, contrast=0.2)

RECIPE = Recipe(
    name="demo",
    summary="rendered cars, ten body types, a small network from nothing",
    backbone="Tiny",
    head_dropout=0.2,
    drop_connect=0.0,
    monitor="val_accuracy",
    stages=(
        Stage(
            name="shapes",
            image_px=64,
            batch_size=32,
            epochs=14,
            learning_rate=2e-3,
            schedule="cosine",
            warmup_epochs=1,
            train_from="all",
            batch_norm="train",
            weight_decay=0.02,
            label_smoothing=0.05,
            augmentation=_AUGMENTATION,
        ),
        Stage(
            name="finish",
            image_px=96,
            batch_size=16,
            epochs=3,
            learning_rate=2e-4,
            schedule="cosine",
            train_from="block2a",
            label_smoothing=0.05,
            augmentation=_AUGMENTATION,
        ),
    ),
)
