"""Does a run that is killed again and again end like one that never was, and what does a kill cost?

    python benchmarks/soak.py --data=DATA --num_kills=50 -- --recipe=demo --strategy=cpu ...

Trains once undisturbed, then again and again with `kill -9` at random moments after each start,
until that many kills are spent. Every run that comes to its end is compared with the undisturbed
one, tensor by tensor. Prints how much longer a kill makes a run.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import app, flags

from trainer.engine.tensor_files import read_tensors
from trainer.run_record import MODEL_FILE

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "Folder with built records.", required=True)
flags.DEFINE_integer("num_kills", 50, "Kills before the run may end.")
flags.DEFINE_integer("seed", 0, "Of the moments.")
flags.DEFINE_float("max_secs", 0.0, "Latest moment of a kill; 0 takes the undisturbed run's time.")


def main(argv: list[str]) -> None:
    """Prints the comparison; exits with 1 if the models differ."""
    rng = random.Random(FLAGS.seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        undisturbed = Path(folder, "undisturbed")
        started = time.monotonic()
        _finish(_start(undisturbed, argv[1:]))
        expected_secs = time.monotonic() - started
        print(f"undisturbed: {expected_secs:.1f} s", flush=True)
        latest = FLAGS.max_secs or expected_secs
        started, num_kills, num_runs, num_same = time.monotonic(), 0, 0, 0
        while num_kills < FLAGS.num_kills:
            num_runs += 1
            killed = Path(folder, f"killed-{num_runs}")
            num_kills += _run_with_kills(killed, argv[1:], rng, latest, FLAGS.num_kills - num_kills)
            num_same += _same(undisturbed, killed)
        extra = time.monotonic() - started - num_runs * expected_secs
        print(f"{num_kills} kills in {num_runs} runs: {extra / num_kills:.1f} s lost to each")
        print(f"final weights identical in {num_same} of {num_runs} runs")
        if num_same < num_runs:
            sys.exit(1)


def _run_with_kills(
    run_dir: Path, arguments: list[str], rng: random.Random, latest: float, most: int
) -> int:
    """Trains to the end; returns how often it was killed on the way, `most` times at the most."""
    for num_kills in range(most):
        process = _start(run_dir, arguments)
        try:
            process.wait(timeout=rng.uniform(0, latest))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            continue
        _finish(process)
        return num_kills
    _finish(_start(run_dir, arguments))
    return most


def _start(run_dir: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    flags_of_run = [f"--data={FLAGS.data}", f"--run_dir={run_dir}", *arguments]
    command = [sys.executable, "-m", "trainer.task", *flags_of_run]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"the run ended with {process.returncode}: {errors.decode()[-2000:]}")


def _same(first: Path, second: Path) -> bool:
    ours, theirs = (read_tensors(str(folder / MODEL_FILE))[0] for folder in (first, second))
    return ours.keys() == theirs.keys() and all(
        np.array_equal(ours[name], theirs[name]) for name in ours
    )


if __name__ == "__main__":
    app.run(main)
