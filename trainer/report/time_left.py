"""How long a run will still take, from how fast its current stage goes."""

from collections.abc import Sequence

from trainer.plan import StagePlan
from trainer.recipe import TRAIN_ALL, TRAIN_HEAD, Stage

# Passes over the network per image: forward, and twice as much backward through what is trained.
_PASSES = {TRAIN_HEAD: 1.0, TRAIN_ALL: 3.0}
_PASSES_FROM_A_BLOCK = 2.0


def stage_seconds_left(
    plan: StagePlan, step: int, secs_per_image: float, secs_per_evaluation: float
) -> float:
    """Seconds to the end of a stage if no patience ends it before.

    Args:
        plan: of the stage.
        step: optimizer steps of it that are done.
        secs_per_image: of training.
        secs_per_evaluation: of one evaluation; there is one at the end of each epoch.
    """
    epochs_left = plan.stage.epochs - step * plan.global_batch / plan.num_examples
    images_left = (plan.num_steps - step) * plan.global_batch
    return images_left * secs_per_image + max(0.0, epochs_left) * secs_per_evaluation


def run_seconds_left(
    plans: Sequence[StagePlan],
    current: StagePlan,
    step: int,
    secs_per_image: float,
    secs_per_evaluation: float,
) -> float | None:
    """Seconds to the end of the run, later stages scaled by their pixels and what they train.

    Returns:
        None where the current stage says nothing about the later ones: its head trains on kept
        features.
    """
    seconds = stage_seconds_left(current, step, secs_per_image, secs_per_evaluation)
    later = [plan for plan in plans if plan.index > current.index]
    if later and current.stage.cache_feature_views:
        return None
    for plan in later:
        pixels = (plan.stage.image_px / current.stage.image_px) ** 2
        passes = _passes(plan.stage) / _passes(current.stage)
        seconds += stage_seconds_left(
            plan, 0, secs_per_image * pixels * passes, secs_per_evaluation * pixels
        )
    return seconds


def _passes(stage: Stage) -> float:
    if stage.cache_feature_views:
        return float(stage.cache_feature_views) / stage.epochs
    return _PASSES.get(stage.train_from, _PASSES_FROM_A_BLOCK)
