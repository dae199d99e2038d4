"""What do two processes, or eight replicas in one, cost beside one process with all cores?

    python benchmarks/two_processes.py --backbone=Tiny --image_px=64 --batch_size=64

The same global batch, the same machine: one process; two processes as `launch.local` starts them
(MultiWorkerMirroredStrategy, ring all-reduce, half of the cores each); MirroredStrategy over
logical CPU devices. Whole training steps with everything trained, canvases included, in host calls
of --num_steps. All are built first; then rounds take turns, so that a machine that drifts drifts
for all. Medians over rounds, and the median of each round's ratio to one process. The core seconds
are what the processes really computed: on a machine that others use too, their ratio still tells
what a quiet one would show at best.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from absl import app, flags

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

FLAGS = flags.FLAGS
flags.DEFINE_string("backbone", "Tiny", "Of trainer/network/backbones.py.")
flags.DEFINE_integer("image_px", 64, "Side of the images.")
flags.DEFINE_integer("batch_size", 64, "Examples in a step, over all replicas.")
flags.DEFINE_integer("num_steps", 10, "Steps in one host call, which is one round.")
flags.DEFINE_integer("num_rounds", 7, "Rounds; one more, not counted, compiles.")
flags.DEFINE_integer("num_replicas", 8, "Logical devices of the third row; 0 leaves it out.")
flags.DEFINE_string("strategy", None, "Used inside: be a contender, one round for each line read.")

NUM_CLASSES = 10


def contend(name: str) -> None:
    """Builds a training step; then each line on stdin is a round, its seconds a line on stdout."""
    import numpy as np

    from trainer.devices import make_strategy
    from trainer.tensorflow_start import require_tensorflow

    require_tensorflow()
    strategy = make_strategy(name, FLAGS.num_replicas if name == "mirrored" else None)

    from trainer.engine.rehearsal import MadeExamples
    from trainer.engine.stage_state import StageState
    from trainer.input.canvases import canvas_px_of
    from trainer.input.feed import train_feed
    from trainer.order import Order
    from trainer.plan import plan_stages
    from trainer.recipe import Recipe, Stage

    num_photos = FLAGS.batch_size * FLAGS.num_steps
    stage = Stage(
        name="stage",
        image_px=FLAGS.image_px,
        batch_size=FLAGS.batch_size,
        epochs=10_000,
        learning_rate=1e-3,
        train_from="all",
    )
    recipe = Recipe(name="benchmark", summary="", backbone=FLAGS.backbone, stages=(stage,))
    (plan,) = plan_stages(
        recipe, num_examples=num_photos, num_replicas=strategy.num_replicas_in_sync
    )
    state = StageState(strategy, recipe, plan, NUM_CLASSES, np.ones(NUM_CLASSES), False)
    order = Order(seed=0, num_examples=num_photos, batch_size=FLAGS.batch_size, num_epochs=10_000)
    examples = MadeExamples(num_photos, canvas_px_of(FLAGS.image_px))
    feed = train_feed(strategy, examples, order, plan, 0, 0)
    rates = np.full(FLAGS.num_steps, 1e-3, np.float32)
    for _ in sys.stdin:
        started, worked = time.perf_counter(), time.process_time()
        state.steps.run(feed, rates)
        state.steps.read_metrics()
        print(time.perf_counter() - started, time.process_time() - worked, flush=True)


class Contender:
    """One process or several that make rounds when told to."""

    def __init__(self, strategy: str, num_workers: int):
        from launch.processes import free_ports, worker_environments

        cores = len(os.sched_getaffinity(0))
        environments = worker_environments(num_workers, free_ports(num_workers), cores)
        self._processes = [
            subprocess.Popen(
                [sys.executable, __file__, f"--strategy={strategy}", *sys.argv[1:]],
                cwd=REPOSITORY,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for environment in environments
        ]

    def round(self) -> tuple[float, float]:
        """(seconds of the slowest process, seconds of all cores over all processes)."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        seconds, core_seconds = [], []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"a contender ended with exit code {process.wait()}")
            spent, worked = map(float, line.split())
            seconds.append(spent)
            core_seconds.append(worked)
        return max(seconds), sum(core_seconds)

    def close(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            process.kill()
            process.wait()


def main(argv: list[str]) -> None:
    """Prints the table."""
    del argv
    if FLAGS.strategy is not None:
        contend(FLAGS.strategy)
        return
    contenders = {"one process": Contender("cpu", 1), "two processes": Contender("multiworker", 2)}
    if FLAGS.num_replicas:
        contenders[f"{FLAGS.num_replicas} logical replicas"] = Contender("mirrored", 1)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    core_seconds: dict[str, list[float]] = {name: [] for name in contenders}
    load = []
    try:
        for number in range(FLAGS.num_rounds + 1):
            for name, contender in contenders.items():
                spent, worked = contender.round()
                if number:
                    seconds[name].append(spent)
                    core_seconds[name].append(worked)
            load.append(os.getloadavg()[0])
    finally:
        for contender in contenders.values():
            contender.close()
    print(
        f"{FLAGS.backbone}, {FLAGS.image_px} px, batch {FLAGS.batch_size}, "
        f"{len(os.sched_getaffinity(0))} cores, load {load[0]:.1f} to {load[-1]:.1f}"
    )
    print(
        f"{'':<22}{'images/s':>10}{'of one process':>16}{'lowest':>8}{'highest':>9}"
        f"{'images/core s':>15}{'of one process':>16}"
    )
    num_images = FLAGS.batch_size * FLAGS.num_steps
    for name, values in seconds.items():
        ratios = [one / value for one, value in zip(seconds["one process"], values, strict=True)]
        worked = statistics.median(core_seconds[name])
        print(
            f"{name:<22}{num_images / statistics.median(values):>10.0f}"
            f"{statistics.median(ratios):>16.2f}{min(ratios):>8.2f}{max(ratios):>9.2f}"
            f"{num_images / worked:>15.0f}"
            f"{statistics.median(core_seconds['one process']) / worked:>16.2f}"
        )


if __name__ == "__main__":
    app.run(main)
