"""What does a run cost beside its compiled step: loop, checkpoints, and going on after a stop?

    python benchmarks/run_overhead.py --data=DATA

Trains one stage as a run does, display and record apart, with a checkpoint every few seconds, and
beside it the bare compiled step again and again on one batch of the same shape; the same network,
process and minute. Wall and core time; the ratio of core times depends less on the neighbours.
Then the same run starts twice in processes of its own: what passes up to the first step, and of it
compilation, in the first start and in one that goes on.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import app, flags

from trainer.engine.stop import StopSignal

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "Folder with built records.", required=True)
flags.DEFINE_string("backbone", "EfficientNetV2B0", "Network.")
flags.DEFINE_integer("image_px", 96, "Side of the images.")
flags.DEFINE_integer("batch_size", 32, "Examples in a step.")
flags.DEFINE_integer("num_epochs", 4, "Epochs of the run.")
flags.DEFINE_float("checkpoint_secs", 3.0, "Seconds between checkpoints.")
flags.DEFINE_string("resume_dir", None, "Used inside: start or go on there, stop after 3 calls.")

COMPILATION = "first call, with compilation"


class StopsSoon:
    """As if told to stop behind the third host call."""

    def __init__(self) -> None:
        self._num_calls = 0

    def reason(self, secs_to_finish: float) -> str | None:
        self._num_calls += 1
        return "benchmark" if self._num_calls >= 3 else None


def main(argv: list[str]) -> None:
    """Prints the table."""
    began = StopSignal(None).process_started
    import tensorflow as tf

    from tfrecords_builder.manifest import load_manifest
    from trainer.engine.ledger import TimeLedger
    from trainer.engine.run import Run, RunOptions
    from trainer.engine.stage_run import HostCall
    from trainer.engine.stage_state import StageState
    from trainer.errors import Preempted
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

    def start(
        run_dir: str,
        clock: Clock,
        stop: StopSignal | StopsSoon,
        announce: Callable[[str], None] = lambda line: None,
        began: float | None = None,
    ) -> Progress:
        return Run(
            strategy=strategy,
            recipe=recipe,
            plans=plans,
            manifest=manifest,
            seed=0,
            options=RunOptions(
                run_dir=run_dir, data_dir=FLAGS.data, checkpoint_secs=FLAGS.checkpoint_secs
            ),
            initial_weights=lambda expected: {},
            stop=stop,
            observers=(clock,),
            ledger=TimeLedger(began),
            announce=announce,
        ).run()

    if FLAGS.resume_dir:
        try:
            start(FLAGS.resume_dir, Clock(), StopsSoon(), print, began)
        except Preempted:
            return
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="overhead-") as run_dir:
        progress = start(run_dir, clock, StopSignal(None))
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
    _print_starts()


def _print_starts() -> None:
    with tempfile.TemporaryDirectory(prefix="starts-") as run_dir:
        for name in ("first start", "goes on"):
            command = [sys.executable, *sys.argv, f"--resume_dir={run_dir}"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            line = re.search(r"first step of stage .* after ([\d.]+) s: (.*)", done.stdout)
            assert line is not None, done.stdout
            compiling = re.search(rf"{COMPILATION} ([\d.]+) s", line[2])
            assert compiling is not None, line[0]
            share = float(compiling[1]) / float(line[1])
            print(
                f"{name}: first step {line[1]} s after the start of the process ({line[2]}); "
                f"compilation is {share:.0%}"
            )


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
