"""What a stage needs on the devices, made in one way for rehearsal and run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfrecords_builder.manifest import Manifest
from trainer.engine.evaluation import EVALUATION_ROWS, Evaluator
from trainer.engine.stage_state import StageState
from trainer.plan import StagePlan
from trainer.recipe import Recipe

BuildStage = Callable[[StagePlan], "BuiltStage"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltStage:
    """Network, optimizer and steps of a stage; its first steps trace and compile."""

    state: StageState
    evaluator: Evaluator
    is_compiled: bool = False
    """Both steps have run once, in the rehearsal."""


def build_stage(
    strategy: tf.distribute.Strategy,
    recipe: Recipe,
    plan: StagePlan,
    manifest: Manifest,
    seed: int,
    compile_with_xla: bool,
) -> BuiltStage:
    """Builds a stage with fresh weights, the same ones for the same seed."""
    # Layers get the same names whatever was built before; XLA's compile cache goes by them.
    tf.keras.backend.clear_session()
    state = StageState(
        strategy,
        recipe,
        plan,
        len(manifest.classes),
        class_weights(plan.stage.class_weights, manifest.splits["train"].class_counts),
        compile_with_xla,
        on_features=plan.stage.cache_feature_views > 0,
        seed=seed,
    )
    evaluator = Evaluator(
        strategy,
        state.network.model,
        plan.stage.augmentation,
        plan.stage.image_px,
        EVALUATION_ROWS,
    )
    return BuiltStage(state=state, evaluator=evaluator)


def class_weights(kind: str, class_counts: Sequence[int]) -> np.ndarray:
    """Factors on the loss, float64 [K], for `Stage.class_weights` and the photos of each class."""
    counts = np.array(class_counts, np.float64)
    if kind == "balanced":
        # A class without photos weighs nothing: label smoothing gives all classes a share.
        return np.where(counts > 0, counts.sum() / (len(counts) * np.maximum(counts, 1)), 0.0)
    return np.ones(len(counts))
