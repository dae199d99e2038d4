"""Runs the steps before a failure again, one by one: python -m trainer.replay CAPSULE."""

import os
import shutil
import tempfile
from collections.abc import Sequence

from absl import flags

from tfrecords_builder import command_line
from tfrecords_builder.errors import UserError
from trainer.devices import STRATEGIES, require_tensorflow

FLAGS = flags.FLAGS

flags.DEFINE_string("data", None, "Folder with the records, if they are not where they were.")
flags.DEFINE_enum("strategy", "cpu", STRATEGIES, "What to run on.")


def main(arguments: Sequence[str]) -> None:
    """Prints the loss of every step from the last good checkpoint to the failure."""
    if len(arguments) != 1:
        raise UserError(f"got {len(arguments)} arguments; need one, the folder of a capsule")
    (folder,) = arguments
    require_tensorflow()
    from tfrecords_builder.manifest import load_manifest
    from trainer.devices import make_strategy
    from trainer.engine.capsule import read_capsule
    from trainer.engine.run import Run, RunOptions
    from trainer.engine.stage_run import HostCall
    from trainer.engine.stop import StopSignal
    from trainer.errors import DataError, LossError
    from trainer.plan import StagePlan, plan_stages
    from trainer.progress import EpochRecord, Progress
    from trainer.run_record import recipe_from_json

    class StepPrinter:
        def on_steps(self, plan: StagePlan, progress: Progress, call: HostCall) -> None:
            loss = call.metrics.loss
            print(f"{plan.stage.name} step {progress.step}: mean loss of the epoch {loss:.6g}")

        def on_epoch(self, plan: StagePlan, progress: Progress, record: EpochRecord) -> None:
            print(f"{plan.stage.name} epoch {record.epoch} ends")

    facts = read_capsule(folder)
    data_dir = FLAGS.data or facts["data_dir"]
    manifest = load_manifest(data_dir)
    if manifest.fingerprint != facts["data_fingerprint"]:
        raise DataError(
            f"{data_dir!r} is not the data of the capsule (fingerprints differ); need the "
            "same records; name their folder with --data"
        )
    recipe = recipe_from_json(facts["recipe"])
    strategy = make_strategy(FLAGS.strategy)
    plans = plan_stages(
        recipe,
        num_examples=manifest.splits["train"].num_examples,
        num_replicas=strategy.num_replicas_in_sync,
    )
    with tempfile.TemporaryDirectory(prefix="replay-") as run_dir:
        shutil.copytree(folder, run_dir, dirs_exist_ok=True)
        try:
            Run(
                strategy=strategy,
                recipe=recipe,
                plans=plans[: [plan.stage.name for plan in plans].index(facts["stage"]) + 1],
                manifest=manifest,
                seed=facts["seed"],
                options=RunOptions(run_dir=run_dir, data_dir=data_dir, max_steps_per_call=1),
                initial_weights=lambda expected: {},
                stop=StopSignal(None),
                observers=(StepPrinter(),),
            ).run()
        except LossError as error:
            step = int(os.path.basename(error.capsule))
            print(f"seen again: {str(error).partition(';')[0]} (step {step} of the run)")
            return
    print("not seen again: the stage went through; a device or its kernels may differ")


if __name__ == "__main__":
    command_line.run_with_arguments(main)
