"""Kernels that hold the session of another run: two pushes of one --name share a kernel."""

from pathlib import Path

from launch.kaggle_client import Kernels, KernelState
from launch.kaggle_record import Launch, LaunchError


class KernelTaken(LaunchError):
    """The kernel holds a session that is none of this run's."""


def check_ours(run_dir: Path, launch: Launch, kernels: Kernels) -> None:
    """Checks that the kernel holds the session that was pushed from the folder.

    Passes where there is no kernel: what is asked of it next says so.

    Raises:
      KernelTaken: It holds another one, whose outputs and log must not be taken for this run's.
      LaunchError: It does, and the newest session of this run was prepared only.
      SubmissionError: Kaggle refuses or cannot be reached.
    """
    there = kernels.state(launch.kernel)
    if there is None or there.launch_id == launch.launch_id:
        return
    if there.version < launch.version:  # Kaggle may show the newest version late
        return
    if launch.version == 0:
        raise LaunchError(
            f"session {launch.session} of {launch.kernel} is not known to have started; one that "
            f"has is needed; go on: python -m launch.kaggle chain --run_dir={run_dir}"
        )
    again = f"python -m launch.kaggle chain --again --run_dir={run_dir}"
    raise KernelTaken(
        f"{launch.kernel} holds version {there.version} of another run; version {launch.version}, "
        f"session {launch.session} of {run_dir}, is needed; push one of them from an empty "
        "--run_dir with another --name, or, when nothing of the other is needed any more, start "
        f"this session once more in its place: {again}"
    )


def check_replaceable(
    launch: Launch, wanted: str, there: KernelState | None, kernels: Kernels
) -> None:
    """Checks that a push replaces neither the session of another run nor one that is running.

    Args:
      launch: Its `launch_id` is that of the session which may be replaced; empty for none.
      wanted: The launch_id of what would be pushed.
      there: The launch's kernel.
      kernels: To ask for its session.

    Raises:
      KernelTaken: The kernel holds the session of another run.
      LaunchError: Its session is running.
      SubmissionError: Kaggle refuses or cannot be reached.
    """
    if there is None or there.launch_id == wanted:
        return
    if (there.launch_id or "") != launch.launch_id:
        raise KernelTaken(
            f"{launch.kernel} holds version {there.version} of another run or of other settings, "
            "which a push would replace; a kernel for each run is needed; give push another "
            "--name (and --run_dir), or give --again to replace what is there"
        )
    running = kernels.session(launch.kernel)
    if not running.is_over and running.status != "new_script":
        raise LaunchError(
            f"a session of {launch.kernel} is {running}; one at a time is needed; wait for it, "
            "or give --again to start another one beside it"
        )
