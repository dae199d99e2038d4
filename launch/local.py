"""Trains on this machine as several processes, or keeps a single one going until it is done.

    python -m launch.local --num_workers=2 -- --data=DATA --run_dir=RUN --recipe=NAME

What stands behind `--` goes to trainer.task. A worker that crashes or is killed makes all of them
start again from the last checkpoint; SIGTERM and Ctrl-C let them save first.

Exit codes: those of trainer.task (0 done, 2 and 3 start again in vain, 75 stopped on purpose: the
same command goes on), 130 after Ctrl-C, 141 if nobody reads the output any more; a crash that
--max_restarts did not heal is the worker's own, 128 + N if signal N killed it.
"""

import sys
from collections.abc import Sequence

from absl import flags

from launch.supervisor import Supervisor, SupervisorSettings
from tfrecords_builder import command_line
from tfrecords_builder.errors import UserError

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command."""
    flags.DEFINE_integer("num_workers", 1, "Processes that train together.", 1)
    flags.DEFINE_integer("max_restarts", 5, "How often to start again after a crash.", 0)
    flags.DEFINE_bool(
        "restart_stopped",
        False,
        "Start again, too, when the trainer stopped on purpose (exit 75); its --deadline then "
        "counts from each start.",
    )
    flags.DEFINE_float("stop_secs", 60, "What workers get to save and end before they are killed.")
    flags.DEFINE_integer(
        "gpus_per_worker", None, "Give each worker so many GPUs of its own; 0: none.", 0
    )


def trainer_command(arguments: Sequence[str], num_workers: int) -> list[str]:
    """The command line of a worker.

    Raises:
        UserError: there is nothing to run, or several workers with another strategy.
    """
    if not arguments:
        raise UserError(
            "nothing to run; need the flags of trainer.task behind `--`; for example: "
            "python -m launch.local --num_workers=2 -- --data=DATA --run_dir=RUN --recipe=demo"
        )
    command = [sys.executable, "-m", "trainer.task", *arguments]
    if num_workers == 1:
        return command
    strategies = []
    for text, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = text.partition("=")
        if name in ("-strategy", "--strategy"):
            strategies.append(value if equals else following)
    if not strategies:
        return [*command, "--strategy=multiworker"]
    if set(strategies) - {"multiworker", "auto"}:
        raise UserError(
            f"--num_workers={num_workers} with --strategy={strategies[-1]}; need multiworker for "
            "several workers; leave --strategy out"
        )
    return command


def main(arguments: Sequence[str]) -> None:
    """Runs the workers to their end and exits with their code."""
    settings = SupervisorSettings(
        num_workers=FLAGS.num_workers,
        max_restarts=FLAGS.max_restarts,
        restarts_stopped=FLAGS.restart_stopped,
        stop_secs=FLAGS.stop_secs,
        gpus_per_worker=FLAGS.gpus_per_worker,
    )
    sys.exit(Supervisor(trainer_command(arguments, settings.num_workers), settings).run())


if __name__ == "__main__":
    define_flags()
    command_line.run_with_arguments(main)
