"""Goes on with a run, session after session, until it is done.

python -m launch.kaggle chain --run_dir=runs/b5

Waits for the running session, fetches what it left, makes its checkpoints the data set that the
next one starts from, and pushes that. Stopped at any point, the same command goes on; so it does
with --again after a session that failed.

Exit codes: 0 the run is finished; 75 --max_sessions were started, or --nowait and one is running;
2 a session failed; 69 Kaggle cannot be reached.
"""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from absl import flags

from launch.kaggle_client import Kernels, connect
from launch.kaggle_contract import EXIT_UNFINISHED, WEIGHTS_SUFFIX
from launch.kaggle_datasets import Datasets
from launch.kaggle_fetch import SessionFailed, fetch, session_file
from launch.kaggle_record import Launch, LaunchError, load_launch, save_launch
from launch.kaggle_session import start_session
from launch.kaggle_state import pack_state
from launch.kaggle_taken import KernelTaken, check_ours
from trainer.submission.errors import KaggleUnavailable

POLL_SECS = 60.0
_MAX_SILENT_POLLS = 60
"""After so many without an answer, about two hours, waiting ends."""


def define_flags() -> None:
    """Defines the verb's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of the run, as given to push.", required=True)
    flags.DEFINE_integer("max_sessions", 10, "Start no more sessions than that in all.", 1)
    flags.DEFINE_bool("again", False, "Go on after a session that failed, or was replaced.")
    flags.DEFINE_bool("wait", True, "Wait for a running session; --nowait ends with code 75.")


def main() -> None:
    """Chains as the flags say."""
    run_dir = Path(flags.FLAGS.run_dir)
    connection = connect(load_launch(run_dir).name)
    sys.exit(
        chain(
            run_dir,
            Kernels(connection),
            Datasets(connection),
            max_sessions=flags.FLAGS.max_sessions,
            wait=flags.FLAGS.wait,
            again=flags.FLAGS.again,
        )
    )


def chain(
    run_dir: Path,
    kernels: Kernels,
    datasets: Datasets,
    *,
    max_sessions: int,
    wait: bool = True,
    again: bool = False,
) -> int:
    """Runs sessions until the run is done; returns 0, or 75 if it is to be gone on with later.

    Args:
      run_dir: Of a launch.
      kernels: Of the user.
      datasets: Of the user.
      max_sessions: How many sessions the run may have in all.
      wait: Whether to wait for a running session.
      again: Whether to go on after the newest session failed, or another run took the kernel.

    Raises:
      KernelTaken: The kernel holds the session of another run.
      LaunchError: A session failed, or, with `again`, is not over.
      SubmissionError: Kaggle refuses or cannot be reached.
    """
    report = kernels.connection.report
    if again:
        _prepare_again(run_dir, kernels)
    while True:
        launch = load_launch(run_dir)
        if launch.version == 0:
            _start(run_dir, launch, kernels, datasets)
            continue
        if not _is_over(run_dir, launch, kernels, wait):
            return EXIT_UNFINISHED
        end = fetch(run_dir, launch, kernels)
        if end.exit_code != EXIT_UNFINISHED:
            report(f"the run is finished after {end.session} sessions; its folder is {run_dir}")
            return 0
        _check_progress(run_dir, launch)
        if launch.session >= max_sessions:
            report(
                f"{launch.session} sessions were started, --max_sessions={max_sessions}; give more "
                "to go on"
            )
            return EXIT_UNFINISHED
        # Written before it is pushed: killed in between, the next command pushes it, once.
        following = dataclasses.replace(launch, session=launch.session + 1, start=1, version=0)
        save_launch(run_dir, following)


def _prepare_again(run_dir: Path, kernels: Kernels) -> None:
    """Makes a session the next to be pushed: the failed one, or one that goes on from its weights.

    It may replace what the kernel holds now.

    Raises:
      LaunchError: The session that the kernel holds is not over.
    """
    launch = load_launch(run_dir)
    there = kernels.state(launch.kernel)
    following = dataclasses.replace(
        launch, version=0, launch_id=(there.launch_id or "") if there else ""
    )
    if launch.version == 0:  # prepared before, and not pushed yet
        save_launch(run_dir, following)
        return
    try:
        fetch(run_dir, launch, kernels)
    except (KernelTaken, SessionFailed) as failed:
        if isinstance(failed, KernelTaken) and not kernels.session(launch.kernel).is_over:
            raise
        kernels.connection.report(str(failed).partition(";")[0])
        if _has_trained(run_dir, launch.session):
            following = dataclasses.replace(following, session=launch.session + 1, start=1)
        else:
            following = dataclasses.replace(following, start=launch.start + 1)
        save_launch(run_dir, following)
    else:
        kernels.connection.report(f"session {launch.session} did not fail; it is not repeated")


def _has_trained(run_dir: Path, session: int) -> bool:
    """Whether the session left other weights than the one before."""

    def weights(number: int) -> dict[str, str]:
        path = session_file(run_dir, number)
        files = json.loads(path.read_text())["files"] if path.exists() else {}
        return {name: files[name] for name in files if name.endswith(WEIGHTS_SUFFIX)}

    left = weights(session)
    return bool(left) and left != weights(session - 1)


def _check_progress(run_dir: Path, launch: Launch) -> None:
    """A session whose deadline is over before its first step must not be repeated for ever."""
    if not _has_trained(run_dir, launch.session):
        raise LaunchError(
            f"session {launch.session} stopped at its deadline ({launch.deadline}) before it had "
            "trained anything; time for at least one step is needed; push the run from another "
            "--run_dir with a longer --deadline"
        )


def _start(run_dir: Path, launch: Launch, kernels: Kernels, datasets: Datasets) -> None:
    if launch.session == 1:
        start_session(run_dir, launch, None, kernels)
        return
    with tempfile.TemporaryDirectory() as folder:
        state = pack_state(run_dir, Path(folder), launch.session - 1)

        def upload() -> None:
            datasets.upload(launch.state_dataset, Path(folder))
            kernels.connection.report(
                f"the run of {launch.session - 1} sessions is in data set {launch.state_dataset}"
            )

        start_session(run_dir, launch, state, kernels, upload=upload)


def _is_over(run_dir: Path, launch: Launch, kernels: Kernels, wait: bool) -> bool:
    """Waits for the session's end, if wanted; returns whether it has ended."""
    shown, num_silent, is_ours = "", 0, False
    while True:
        try:
            if not is_ours:  # once: the answer holds the whole script
                check_ours(run_dir, launch, kernels)
                is_ours = True
            state = kernels.session(launch.kernel)
            if state.is_over:
                return True
            news, num_silent = f"session {launch.session} is {state}", 0
        except KaggleUnavailable as error:
            # The session goes on without us: a bad spell must not end a chain of days.
            news, num_silent = str(error).partition(";")[0], num_silent + 1
            if not wait or num_silent > _MAX_SILENT_POLLS:
                raise
        if news != shown:
            kernels.connection.report(shown := news)
        if not wait:
            return False
        kernels.connection.sleep(POLL_SECS)
