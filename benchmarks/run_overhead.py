"""What does a run cost beside its compiled step: loop, checkpoints, and going on after a stop?

    python benchmarks/run_overhead.py --data=DATA

Trains one stage as a run does, display and record apart, with a checkpoint every few seconds, and
beside it the bare compiled step again and again on one batch of the same shape; the same network,
process and minute. Wall and core time; the ratio of core times depends less on the neighbours.
"""

import os
import tempfile
import time
from dataclasses import replace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "Folder with built records.", required=True)
flags.DEFINE_string("backbone", "EfficientNetV2B0", "Network.")
flags.DEFINE_integer("image_px", 96, "Side of the images.")
flags.DEFINE_integer("batch_size", 32, "Examples in a step.")
flags.DEFINE_integer("num_epochs", 4, "Epochs of the run.")
flags.DEFINE_float("checkpoint_secs", 3.0, "Seconds between checkpoints.")


def main(argv: list[str]) -> None:
    """Prints the table."""
    import tensorflow as tf

    from tfrecords_builder.manifest import load_manifest
    from trainer.engine.ledger import TimeLedger
    from trainer.engine.run import Run, RunOptions
    from trainer.engine.stage_run import HostCall
    from trainer.engine.stage_state import StageState
    from trainer.engine.stop import StopSignal
    from trainer.plan import StagePlan, plan_stages
    from trainer.progress import EpochRecord, Progress
    from trainer.recipe import Recipe, Stage

    del argv
    manifest = load_manifest(FLAGS.data)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    stage = Stage(
        name="stage",
        image_px=FLAGS.image_px,
        batch_size=FLAGS.batch_size,
        epochs=FLAGS.num_epochs,
        learning_rate=1e-4,
        train_from="all",
    )
    recipe = Recipe(name="benchmark", summary="", backbone=FLAGS.backbone, stages=(stage,))
    num_examples = manifest.splits["train"].num_examples
    plans = plan_stages(recipe, num_examples=num_examples, num_replicas=1)

    class Clock:
        """Observer that measures between the end of the first host call and that of the last."""

        def __init__(self) -> None:
            self.images = 0
            self.evaluating = [0.0, 0.0]
            self.first = self.last = (0.0, 0.0)

        def on_steps(self, plan: StagePlan, progress: Progress, call: HostCall) -> None:
            now = (time.perf_counter(), time.process_time())
            if call.is_first:
                self.first = now
            else:
                self.images += call.num_images
            self.last = now

        def on_epoch(self, plan: StagePlan, progress: Progress, record: EpochRecord) -> None:
            now = (time.perf_counter(), time.process_time())
            for index in range(2):
                self.evaluating[index] += now[index] - self.last[index]

    def start(run_dir: str, clock: Clock, epochs: int, announce=lambda line: None) -> Progress:
        longer = replace(recipe, stages=(replace(stage, epochs=epochs),))
        return Run(
            strategy=strategy,
            recipe=longer,
            plans=plan_stages(longer, num_examples=num_examples, num_replicas=1),
            manifest=manifest,
            seed=0,
            options=RunOptions(
                run_dir=run_dir, data_dir=FLAGS.data, checkpoint_secs=FLAGS.checkpoint_secs
            ),
            initial_weights=lambda expected: {},
            stop=StopSignal(None),
            observers=(clock,),
            ledger=TimeLedger(),
            announce=announce,
        ).run()

    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="overhead-") as run_dir:
        progress = start(run_dir, clock, FLAGS.num_epochs)
    state = StageState(
        strategy, recipe, plans[0], len(manifest.classes), np.ones(len(manifest.classes)), False
    )
    snapshots = []
    for _ in range(7):
        started = time.perf_counter()
        state.snapshot()
        snapshots.append(time.perf_counter() - started)
    bare = _bare_images_per_second(strategy, state, plans[0])
    whole = [
        clock.images / (clock.last[index] - clock.first[index] - _before_last(clock, index))
        for index in range(2)
    ]
    print(
        f"{FLAGS.backbone}, {FLAGS.image_px} px, batch {FLAGS.batch_size}, "
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    )
    for name, ours, peer in zip(("images/s", "images/core s"), whole, bare, strict=True):
        print(f"{name:<15} run {ours:8.1f}   bare step {peer:8.1f}   ratio {ours / peer:.2f}")
    print(f"copy for a checkpoint: median {1000 * sorted(snapshots)[3]:.0f} ms")
    spent = ", ".join(f"{what} {secs:.2f} s" for what, secs in progress.seconds["stage"].items())
    print(f"ledger of the run: {spent}")


def _before_last(clock, index: int) -> float:
    """Evaluations that lie between the first and the last host call: all but the last epoch's."""
    return clock.evaluating[index] * (FLAGS.num_epochs - 1) / FLAGS.num_epochs


def _bare_images_per_second(strategy, state, plan) -> tuple[float, float]:
    import tensorflow as tf

    from trainer.engine.rehearsal import MadeExamples
    from trainer.input.canvases import canvas_px_of
    from trainer.input.feed import train_feed
    from trainer.order import Order

    order = Order(
        seed=0, num_examples=plan.num_examples, batch_size=plan.global_batch, num_epochs=9
    )
    examples = MadeExamples(plan.num_examples, canvas_px_of(plan.stage.image_px))
    batch = next(train_feed(strategy, examples, order, plan, 0, 0))
    step = tf.function(
        lambda: strategy.run(state.steps._replica_step, args=(batch, tf.constant(1e-4))),
        autograph=False,
    )
    step()
    walls, works = [], []
    for _ in range(15):
        started, worked = time.perf_counter(), time.process_time()
        step()
        state.steps.read_metrics()
        walls.append(time.perf_counter() - started)
        works.append(time.process_time() - worked)
    num = plan.global_batch * len(walls)
    return num / sum(walls), num / sum(works)


if __name__ == "__main__":
    app.run(main)
