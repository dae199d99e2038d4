"""A few hundred labelled photos of ten car makes: what fine-tuning can do on two CPU cores.

    python -m tfrecords_builder --source=csv --images=train --labels=train.csv \\
        --test_images=test_upload --sample_submission=sample-submission.csv --out=DATA
    python -m trainer.task --data=DATA --run_dir=RUN --recipe=cars_small \\
        --weights=efficientnetv2-b0_notop.h5
"""

from trainer.augment.config import Augmentation
from trainer.recipe import Recipe, Stage

_AUGMENTATION = Augmentation(crop_area=(0.5, 1.0), mirror=0.5, brightness=0.2, contrast=0.2, saturation=0.2)

RECIPE = Recipe(
    name="cars_small",
    summary="car makes from a few hundred photos, EfficientNetV2-B0, 224 then 288 px",
    backbone="EfficientNetV2B0",
    weights="imagenet",
    monitor="val_loss",
    stages=(
        Stage(
            name="head",
            image_px=224,
            batch_size=32,
            epochs=3,
            learning_rate=3e-3,
            train_from="head",
            label_smoothing=0.1,
            augmentation=_AUGMENTATION,
        ),
        Stage(
            name="whole",
            image_px=224,
            batch_size=32,
            epochs=16,
            learning_rate=1e-3,
            schedule="cosine",
            warmup_epochs=1,
            train_from="all",
            weight_decay=0.05,
            label_smoothing=0.1,
            augmentation=_AUGMENTATION,
        ),
        Stage(
            name="finish",
            image_px=288,
            batch_size=16,
            epochs=3,
            learning_rate=2e-4,
            schedule="cosine",
            train_from="block4a",
            label_smoothing=0.1,
            augmentation=_AUGMENTATION,
        ),
    ),
)
