"""A recipe: everything that decides what a run learns, as plain frozen data.

A recipe is a list of stages on one network. A stage is one object: image size, global batch,
learning rate and its schedule, what is trained, BatchNorm policy, augmentation, length, patience.
Nothing here knows a device, a data set or TensorFlow.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from trainer.augment.config import MIN_TILE_PX, Augmentation
from trainer.errors import RecipeError

SCHEDULES = ("constant", "cosine")
BATCH_NORM_POLICIES = ("frozen", "train")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
MONITORS = ("val_accuracy", "val_loss")
TRAIN_HEAD = "head"
TRAIN_ALL = "all"
IMAGE_PX_MULTIPLE = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage of training; the weights that were best on validation go on to the next one."""

    name: str
    """Names the stage in logs, checkpoints and `--set stages.NAME.FIELD=VALUE`."""
    image_px: int
    """Side of the square images, in pixels; a multiple of 8."""
    batch_size: int
    """Global batch: examples in one optimizer step over all replicas."""
    epochs: int
    """Passes over the training split."""
    learning_rate: float
    """Peak learning rate at `batch_size`."""
    train_from: str
    """First block that is trained, with everything above it: `block5a`, ...; `head` or `all`."""
    schedule: str = "constant"
    """`constant`, or `cosine` down to `final_learning_rate` of the peak over the stage."""
    final_learning_rate: float = 0.0
    """Where the cosine ends, as a fraction of the peak."""
    warmup_epochs: float = 0.0
    """Epochs of linear warm-up from zero."""
    batch_norm: str = "frozen"
    """`frozen`: inference mode and not trained, in every block. `train`: batch statistics and
    trained in the unfrozen blocks, synchronised over the replicas."""
    layer_decay: float = 1.0
    """Factor on the learning rate per block counted down from the head; 1 is the same for all."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW), applied to kernels only."""
    label_smoothing: float = 0.0
    """Share of the label's weight that is spread over all classes, in [0, 1)."""
    clip_norm: float | None = None
    """Global norm to which the gradient of the whole batch is clipped."""
    ema_decay: float | None = None
    """Decay of the running average of the weights; evaluation and what is kept use the average."""
    class_weights: str = "none"
    """`none`, or `balanced`: n / (K n_k), so that every class weighs the same; 0 for one without
    photos."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """What is done to the training images on the device."""
    cache_feature_views: int = 0
    """With `train_from="head"`: run the frozen network once over this many augmented views of each
    photo and train the head on the kept features. 0 runs the network in every step."""
    plateau_patience: int | None = None
    """Epochs without improvement after which `plateau_factor` lowers the learning rate."""
    plateau_factor: float = 0.3
    early_stopping_patience: int | None = None
    """Epochs without improvement after which the stage ends."""

    def __post_init__(self) -> None:
        where = f"stage {self.name!r}"
        if not self.name.isidentifier():
            raise RecipeError(
                f"stage name {self.name!r} is not usable; need letters, digits and _; rename the "
                "stage"
            )
        _check_finite(self, where)
        if self.image_px < IMAGE_PX_MULTIPLE or self.image_px % IMAGE_PX_MULTIPLE:
            below = max(IMAGE_PX_MULTIPLE, self.image_px // IMAGE_PX_MULTIPLE * IMAGE_PX_MULTIPLE)
            raise RecipeError(
                f"{where}: image_px={self.image_px} is not a multiple of {IMAGE_PX_MULTIPLE}; "
                f"use {below} or {below + IMAGE_PX_MULTIPLE}"
            )
        _check(self.batch_size >= 1, where, "batch_size", self.batch_size, "at least 1")
        _check(self.epochs >= 1, where, "epochs", self.epochs, "at least 1")
        _check(self.learning_rate > 0, where, "learning_rate", self.learning_rate, "above 0")
        _check(
            0 <= self.warmup_epochs <= self.epochs,
            where,
            "warmup_epochs",
            self.warmup_epochs,
            "0..epochs",
        )
        _check(
            0 <= self.final_learning_rate <= 1,
            where,
            "final_learning_rate",
            self.final_learning_rate,
            "0..1",
        )
        _check(
            0 < self.layer_decay <= 1, where, "layer_decay", self.layer_decay, "above 0, up to 1"
        )
        _check(self.weight_decay >= 0, where, "weight_decay", self.weight_decay, "0 or more")
        _check(
            0 <= self.label_smoothing < 1,
            where,
            "label_smoothing",
            self.label_smoothing,
            "0 to below 1",
        )
        _check(
            self.clip_norm is None or self.clip_norm > 0,
            where,
            "clip_norm",
            self.clip_norm,
            "above 0 or None",
        )
        _check(
            self.ema_decay is None or 0 < self.ema_decay < 1,
            where,
            "ema_decay",
            self.ema_decay,
            "in (0, 1) or None",
        )
        _check(
            0 < self.plateau_factor < 1, where, "plateau_factor", self.plateau_factor, "in (0, 1)"
        )
        _check_choice(self.schedule, SCHEDULES, where, "schedule")
        _check_choice(self.batch_norm, BATCH_NORM_POLICIES, where, "batch_norm")
        _check_choice(self.class_weights, ("none", "balanced"), where, "class_weights")
        for name in ("plateau_patience", "early_stopping_patience"):
            patience = getattr(self, name)
            _check(patience is None or patience >= 1, where, name, patience, "at least 1 or None")
        _check(
            self.cache_feature_views >= 0,
            where,
            "cache_feature_views",
            self.cache_feature_views,
            "0 or more",
        )
        if self.cache_feature_views and self.train_from != TRAIN_HEAD:
            raise RecipeError(
                f"{where}: cache_feature_views={self.cache_feature_views} with "
                f"train_from={self.train_from!r}; "
                "kept features need a network that is frozen below the head; set train_from=head "
                "or the views to 0"
            )
        if self.cache_feature_views and self.augmentation.mixes:
            raise RecipeError(
                f"{where}: cache_feature_views={self.cache_feature_views} with mixup or cutmix; "
                "kept features are of one photo with one label; set the views to 0, or "
                "augmentation.mixup_alpha and augmentation.cutmix_alpha"
            )
        tiles = self.augmentation.clahe_tiles
        if self.augmentation.clahe and self.image_px < MIN_TILE_PX * tiles:
            raise RecipeError(
                f"{where}: image_px={self.image_px} with augmentation.clahe_tiles={tiles}; so many "
                f"tiles a side need {MIN_TILE_PX * tiles} px, {MIN_TILE_PX} each; set "
                f"augmentation.clahe_tiles to {self.image_px // MIN_TILE_PX} or lower, or "
                "image_px higher"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A network and the stages that train it."""

    name: str
    summary: str
    """One line: what it is for."""
    backbone: str
    """A name from `trainer.network.backbones`: `EfficientNetB5`, `EfficientNetV2B0`, `Tiny`, ..."""
    stages: tuple[Stage, ...]
    weights: str = "none"
    """Where the backbone starts: none, imagenet, noisy-student, or a path."""
    precision: str = "float32"
    head_dropout: float = 0.5
    """Dropout before the last layer."""
    drop_connect: float = 0.2
    """Stochastic depth: the probability at the last block; it falls linearly to 0 at the first."""
    monitor: str = "val_loss"
    """What says which epoch was best: `val_loss` (falls) or `val_accuracy` (rises)."""
    adam_beta_1: float = 0.9
    adam_beta_2: float = 0.999
    adam_epsilon: float = 1e-7
    max_replica_batch: int | None = None
    """What one replica can hold; a larger share is accumulated in micro-batches of at most this."""

    def __post_init__(self) -> None:
        where = f"recipe {self.name!r}"
        _check_finite(self, where)
        _check(len(self.stages) > 0, where, "stages", (), "at least one stage")
        names = [stage.name for stage in self.stages]
        _check(len(set(names)) == len(names), where, "stages", names, "different names")
        _check_choice(self.precision, PRECISIONS, where, "precision")
        _check_choice(self.monitor, MONITORS, where, "monitor")
        for name in ("head_dropout", "drop_connect", "adam_beta_1", "adam_beta_2"):
            rate = getattr(self, name)
            _check(0 <= rate < 1, where, name, rate, "0 to below 1")
        _check(self.adam_epsilon > 0, where, "adam_epsilon", self.adam_epsilon, "above 0")
        geometries = {stage.augmentation.resize for stage in self.stages}
        _check(
            len(geometries) == 1,
            where,
            "augmentation.resize",
            sorted(geometries),
            "one geometry in all stages",
        )
        limit = self.max_replica_batch
        _check(limit is None or limit >= 1, where, "max_replica_batch", limit, "at least 1 or None")

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain JSON data, stages as a list."""
        return dataclasses.asdict(self)


def _check(holds: bool, where: str, name: str, received: object, needed: str) -> None:
    if not holds:
        raise RecipeError(
            f"{where}: {name}={received} cannot be used; need {needed}; change it or use --set"
        )


def _check_finite(owner: Stage | Recipe, where: str) -> None:
    for each in dataclasses.fields(owner):
        value = getattr(owner, each.name)
        finite = not isinstance(value, float) or math.isfinite(value)
        _check(finite, where, each.name, value, "a finite number")


def _check_choice(value: str, choices: tuple[str, ...], where: str, name: str) -> None:
    if value not in choices:
        raise RecipeError(
            f"{where}: {name}={value!r} is not known; need one of {', '.join(choices)}"
        )
