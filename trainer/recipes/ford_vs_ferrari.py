"""The Kaggle entry "Ford vs Ferrari: the car's model from a photo": 10 classes, 15,561 photos.

    python -m tfrecords_builder --source=csv --images=train --labels=train.csv \\
        --test_images=test_upload --sample_submission=sample-submission.csv --out=DATA
    python -m trainer.task --data=DATA --run_dir=RUN --recipe=ford_vs_ferrari --strategy=auto

EfficientNet-B5 from noisy-student weights; the head alone, then the upper half of the network by
whole blocks (from block5a) with BatchNorm frozen, both at 224 px, then four epochs at 456 px; batch
and learning rate fall from stage to stage. The entry that this follows scored 0.97213 on the
competition's board (best known there 0.98292). This recipe has not been run there: photos and
weights cannot be had without an account.

That entry did not start from noisy-student weights directly but from a training on 49 groups of
Stanford Cars. So do these two commands; GROUPS is built as `stanford_cars` says:

    python -m trainer.task --data=GROUPS --run_dir=STONE --recipe=stanford_cars --strategy=auto
    python -m trainer.task --data=DATA --run_dir=RUN --recipe=ford_vs_ferrari --weights=STONE \\
        --strategy=auto
"""

from trainer.augment.config import Augmentation
from trainer.recipe import Recipe, Stage

_AUGMENTATION = Augmentation(
    crop_area=(0.7, 1.0),
    mirror=0.5,
    rotation_degrees=5,
    shift=0.05,
    zoom=0.05,
    brightness=0.2,
    contrast=0.2,
)

RECIPE = Recipe(
    name="ford_vs_ferrari",
    summary="car models from photos, EfficientNet-B5, 224 then 456 px",
    backbone="EfficientNetB5",
    weights="noisy-student",
    monitor="val_accuracy",
    stages=(
        Stage(
            name="head",
            image_px=224,
            batch_size=64,
            epochs=5,
            learning_rate=1e-3,
            train_from="head",
            augmentation=_AUGMENTATION,
            plateau_patience=2,
            early_stopping_patience=3,
        ),
        Stage(
            name="upper_half",
            image_px=224,
            batch_size=32,
            epochs=12,
            learning_rate=1e-4,
            train_from="block5a",
            warmup_epochs=0.5,
            augmentation=_AUGMENTATION,
            plateau_patience=2,
            early_stopping_patience=4,
        ),
        Stage(
            name="finish",
            image_px=456,
            batch_size=16,
            epochs=4,
            learning_rate=3e-5,
            train_from="block5a",
            warmup_epochs=0.25,
            augmentation=_AUGMENTATION,
            plateau_patience=1,
        ),
    ),
)
