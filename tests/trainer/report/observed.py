"""What a run tells its observers, made up."""

from tests.trainer.making import make_recipe, make_stage
from trainer.engine.stage_run import HostCall
from trainer.engine.steps import TrainMetrics
from trainer.plan import plan_stages
from trainer.progress import EpochRecord

PLANS = plan_stages(
    make_recipe(
        make_stage(name="head", epochs=2, batch_size=10),
        make_stage(name="finish", epochs=2, batch_size=10),
    ),
    num_examples=100,
    num_replicas=1,
)


def host_call(is_first: bool = False, input_wait_secs: float = 0.5) -> HostCall:
    metrics = TrainMetrics(
        loss=1.25, accuracy=0.625, num_examples=50, num_skipped=0, gradient_norm=2.0
    )
    return HostCall(
        metrics=metrics,
        num_images=50,
        seconds=2.0,
        input_wait_secs=input_wait_secs,
        is_first=is_first,
    )


def epoch_record(**changes) -> EpochRecord:
    fields = {
        "stage": "head",
        "epoch": 1,
        "step": 10,
        "learning_rate": 1e-3,
        "train_loss": 1.25,
        "train_accuracy": 0.625,
        "val_loss": 1.5,
        "val_accuracy": 0.5,
        "is_best": True,
        "seconds": 4.0,
    }
    return EpochRecord(**{**fields, **changes})
