"""Tells how the newest session of a run stands.

python -m launch.kaggle status --run_dir=runs/b5
"""

from pathlib import Path

from absl import flags

from launch.kaggle_client import Kernels, connect, print_line
from launch.kaggle_record import load_launch


def define_flags() -> None:
    """Defines the verb's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of the run, as given to push.", required=True)


def main() -> None:
    """Prints the state of the session, and what to do next."""
    run_dir = Path(flags.FLAGS.run_dir)
    launch = load_launch(run_dir)
    state = Kernels(connect(launch.name)).session(launch.kernel)
    print_line(
        f"session {launch.session} of {launch.kernel} (version {launch.version}, "
        f"{launch.accelerator}): {state}"
    )
    if not state.is_over:
        print_line(f"follow it: python -m launch.kaggle logs --follow --run_dir={run_dir}")
    elif launch.fetched_session < launch.session:
        print_line(f"get its outputs: python -m launch.kaggle fetch --run_dir={run_dir}")
    else:
        print_line(f"its outputs are in {run_dir}")
