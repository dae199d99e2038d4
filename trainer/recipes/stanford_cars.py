"""The stepping stone: 49 groups of Stanford Cars, before the cars that are asked for.

    python -m tfrecords_builder --source=stanford_cars --images=DIR --devkit=DIR/devkit \\
        --crop_margin=0.05 --bad_boxes=clip --regroup=stanford_cars --out=GROUPS
    python -m trainer.task --data=GROUPS --run_dir=STONE --recipe=stanford_cars --strategy=auto
    python -m trainer.task --data=DATA --run_dir=RUN --recipe=ford_vs_ferrari --weights=STONE \\
        --strategy=auto

The first command crops every photo to its box and joins the 196 models to 49 makes and body types;
DATA are the records of the competition (see `ford_vs_ferrari`). The last command takes the trunk of
STONE, gives it a fresh head, since the classes are others, and writes down in its run.json which
file it started from.

What to compare: the entry that this follows reached val_loss 1.5944 and val_accuracy 0.5206 on 49
groups with the head alone; hold the best epoch of the stage `head` against it, without label
smoothing, which would make it another loss. The stage after it has no figure to meet. This recipe
has not been run on Stanford Cars: photos and weights cannot be had without an account. What the two
steps bring with fewer photos and a smaller network was measured: docs/weights.md.

Random crops go down to a third of the photo: a stepping stone should teach parts of cars, not whole
views. There is no stage at 456 px: fine detail is learnt where it counts.
"""

from trainer.augment.config import Augmentation
from trainer.recipe import Recipe, Stage

_AUGMENTATION = Augmentation(
    crop_area=(0.35, 1.0),
    crop_ratio=(0.75, 4 / 3),
    mirror=0.5,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
)

RECIPE = Recipe(
    name="stanford_cars",
    summary="49 groups of Stanford Cars, EfficientNet-B5, 224 px; weights for other car photos",
    backbone="EfficientNetB5",
    weights="noisy-student",
    monitor="val_loss",
    stages=(
        Stage(
            name="head",
            image_px=224,
            batch_size=64,
            epochs=10,
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
            epochs=15,
            learning_rate=2e-4,
            schedule="cosine",
            final_learning_rate=0.02,
            train_from="block5a",
            warmup_epochs=0.5,
            augmentation=_AUGMENTATION,
            early_stopping_patience=4,
        ),
    ),
)
