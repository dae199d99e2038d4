"""Prints the log of the newest session of a run.

python -m launch.kaggle logs --run_dir=runs/b5 --follow
"""

from pathlib import Path

from absl import flags

from launch.kaggle_client import Kernels, connect
from launch.kaggle_record import load_launch
from launch.kaggle_taken import check_ours
from trainer.submission.connection import CallFailed
from trainer.submission.failures import Kind

_POLL_SECS = 5.0


def define_flags() -> None:
    """Defines the verb's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of the run, as given to push.", required=True)
    flags.DEFINE_bool("follow", False, "Go on until the session ends.")


def main() -> None:
    """Prints the log so far, or all of it as it comes."""
    run_dir = Path(flags.FLAGS.run_dir)
    kernels = Kernels(connect(load_launch(run_dir).name))
    show_log(run_dir, kernels, until_end=flags.FLAGS.follow)


def show_log(run_dir: Path, kernels: Kernels, *, until_end: bool = False) -> None:
    """Reports the log so far, or all of it as it comes.

    Raises:
      KernelTaken: The kernel holds the session of another run.
      SubmissionError: Kaggle refuses or cannot be reached.
    """
    launch = load_launch(run_dir)
    check_ours(run_dir, launch, kernels)
    if until_end:
        follow(kernels, launch.kernel)
        return
    text = kernels.log(launch.kernel).rstrip("\n")
    kernels.connection.report(
        text or f"no log yet; the session is {kernels.session(launch.kernel)}"
    )


def follow(kernels: Kernels, kernel: str) -> None:
    """Reports every line of the log once, until the session has ended.

    Kaggle cuts quiet streams and gives all lines again at the next: those seen are left out.

    Raises:
      KaggleUnavailable: The stream broke off too often without a new line.
    """
    connection = kernels.connection
    num_seen, num_failed = 0, 0
    while True:
        num_before, position = num_seen, 0

        def take(data: str) -> None:
            nonlocal num_seen, position
            position += 1
            if position > num_seen:
                num_seen = position
                connection.report(data.rstrip("\n"))

        # Asked first: what a session that is over has logged is whole.
        state = kernels.session(kernel)
        try:
            kernels.log_events(kernel, take)
        except CallFailed as failed:
            num_failed = 0 if num_seen > num_before else num_failed
            quiet = failed.failure.kind is Kind.TIMEOUT and not state.is_over
            if not quiet:  # a session that compiles says nothing for minutes
                num_failed += 1
                connection.wait_after(failed.failure, num_failed)
            continue
        num_failed = 0
        if state.is_over:
            connection.report(f"the session is over: {state}")
            return
        if num_seen == num_before:
            connection.sleep(_POLL_SECS)
