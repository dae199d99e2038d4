"""Goes on with a run, session after session, until it is done.

python -m launch.kaggle chain --run_dir=runs/b5

Waits for the running session, fetches what it left, makes its checkpoints the data set that the
next one starts from, and pushes that. Stopped at any point, the same command goes on.

Exit codes: 0 the run is finished; 75 --max_sessions were started, or --nowait and one is running;
2 a session failed; 69 Kaggle cannot be reached.
"""

import dataclasses
import json
import sys
from pathlib import Path

from absl import flags

from launch.kaggle_client import Kernels, connect
from launch.kaggle_contract import EXIT_UNFINISHED
from launch.kaggle_datasets import Datasets
from launch.kaggle_fetch import fetch
from launch.kaggle_record import FOLDER, Launch, LaunchError, load_launch, save_launch
from launch.kaggle_session import start_session
from launch.kaggle_state import upload_state

POLL_SECS = 60.0


def define_flags() -> None:
    """Defines the verb's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of the run, as given to push.", required=True)
    flags.DEFINE_integer("max_sessions", 10, "Start no more sessions than that in all.", 1)
    flags.DEFINE_bool("again", False, "Start a failed session once more.")
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
      again: Whether the newest session, which failed, is started once more, from what is here.

    Raises:
      LaunchError: A session failed.
      SubmissionError: Kaggle refuses or cannot be reached.
    """
    report = kernels.connection.report
    if again:
        launch = load_launch(run_dir)
        following = dataclasses.replace(launch, start=launch.start + 1, version=0)
        save_launch(run_dir, following)
    while True:
        launch = load_launch(run_dir)
        if launch.version == 0:
            _start(run_dir, launch, kernels, datasets)
            continue
        if not _is_over(launch, kernels, wait):
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


def _check_progress(run_dir: Path, launch: Launch) -> None:
    """A session whose deadline is over before its first step must not be repeated for ever."""
    weights = []
    for session in (launch.session - 1, launch.session):
        path = run_dir / FOLDER / f"session-{session}.json"
        files = json.loads(path.read_text())["files"] if path.exists() else {}
        weights.append({name: files[name] for name in files if name.endswith(".safetensors")})
    if weights[0] == weights[1]:
        raise LaunchError(
            f"session {launch.session} stopped at its deadline ({launch.deadline}) before it had "
            "trained anything; time for at least one step is needed; push the run from another "
            "--run_dir with a longer --deadline"
        )


def _start(run_dir: Path, launch: Launch, kernels: Kernels, datasets: Datasets) -> None:
    state = None
    if launch.session > 1:
        state = upload_state(datasets, launch.state_dataset, run_dir, launch.session - 1)
        kernels.connection.report(
            f"the run of {launch.session - 1} sessions is in data set {launch.state_dataset}"
        )
    save_launch(run_dir, start_session(launch, state, kernels))


def _is_over(launch: Launch, kernels: Kernels, wait: bool) -> bool:
    """Waits for the session's end, if wanted; returns whether it has ended."""
    shown = ""
    while not (state := kernels.session(launch.kernel)).is_over:
        if str(state) != shown:
            shown = str(state)
            kernels.connection.report(f"session {launch.session} is {shown}")
        if not wait:
            return False
        kernels.connection.sleep(POLL_SECS)
    return True
