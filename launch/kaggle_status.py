"""Tells how the newest session of a run stands.

python -m launch.kaggle status --run_dir=runs/b5
"""

from pathlib import Path

from absl import flags

from launch.kaggle_client import Kernels, connect
from launch.kaggle_record import load_launch
from launch.kaggle_taken import check_ours


def define_flags() -> None:
    """Defines the verb's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of the run, as given to push.", required=True)


def main() -> None:
    """Prints the state of the session, and what to do next."""
    run_dir = Path(flags.FLAGS.run_dir)
    tell_status(run_dir, Kernels(connect(load_launch(run_dir).name)))


def tell_status(run_dir: Path, kernels: Kernels) -> None:
    """Reports the state of the session, and what to do next.

    Raises:
      KernelTaken: The kernel holds the session of another run.
      SubmissionError: Kaggle refuses or cannot be reached.
    """
    launch = load_launch(run_dir)
    check_ours(run_dir, launch, kernels)
    state = kernels.session(launch.kernel)
    report = kernels.connection.report
    report(
        f"session {launch.session} of {launch.kernel} (version {launch.version}, "
        f"{launch.accelerator}): {state}"
    )
    if not state.is_over:
        report(f"follow it: python -m launch.kaggle logs --follow --run_dir={run_dir}")
    elif launch.fetched_session < launch.session:
        report(f"get its outputs: python -m launch.kaggle fetch --run_dir={run_dir}")
    else:
        report(f"its outputs are in {run_dir}")
