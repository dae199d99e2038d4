"""Whether a stage learns at all: updates whose gradients are not finite are left out."""

from trainer.engine.optimizer import LOWEST_LOSS_SCALE, AdamW
from trainer.engine.steps import TrainMetrics
from trainer.errors import TrainingError
from trainer.recipe import Recipe, Stage


def check_skipped_epoch(
    recipe: Recipe, stage: Stage, optimizer: AdamW, metrics: TrainMetrics, epoch: int
) -> None:
    """Ends a run that has made no update in an epoch, unless its loss scale may still fall.

    With float16 the scale may fall through the whole of a short epoch.

    Raises:
        TrainingError: the scale is the lowest, which without float16 it always is.
    """
    if float(optimizer.loss_scale.numpy()) > LOWEST_LOSS_SCALE:
        return
    raise TrainingError(
        f"none of the {metrics.num_skipped} updates of epoch {epoch} of stage {stage.name!r} was "
        f"made: no gradient was finite (norm {metrics.gradient_norm}, loss {metrics.loss:.4g}); "
        f"{_remedy(recipe, stage)}"
    )


def check_updates_of_stage(recipe: Recipe, stage: Stage, optimizer: AdamW) -> None:
    """Ends a run at a stage that has made no update, however far its loss scale has fallen.

    Raises:
        TrainingError: it has made no update.
    """
    if optimizer.num_updates:
        return
    raise TrainingError(
        f"no update of stage {stage.name!r} was made: no gradient was finite down to a loss scale "
        f"of {float(optimizer.loss_scale.numpy()):g}; {_remedy(recipe, stage)}"
    )


def _remedy(recipe: Recipe, stage: Stage) -> str:
    other = (
        "--precision=mixed_bfloat16 or float32"
        if recipe.precision == "mixed_float16"
        else "other --weights to start from"
    )
    lower = f"stages.{stage.name}.learning_rate={stage.learning_rate / 3:.1g}"
    return (
        f"need gradients that are numbers; try {other}, or a lower rate with --set {lower}; the "
        "last checkpoint is intact"
    )
