"""Gets what the newest session of a run left, into the run's folder.

python -m launch.kaggle fetch --run_dir=runs/b5

Exit codes: 0 the run is finished; 75 it is to be gone on with (`chain` does); 2 the session failed
or is not over; 69 Kaggle cannot be reached.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from absl import flags

from launch.kaggle_client import Kernels, connect
from launch.kaggle_contract import (
    EXIT_UNFINISHED,
    RUN_FOLDER,
    SESSION_FILE,
    WEIGHTS_SUFFIX,
    sha256_of,
)
from launch.kaggle_record import FOLDER, Launch, LaunchError, load_launch, save_launch
from launch.kaggle_taken import check_ours
from trainer.submission.file import write_atomically


class SessionFailed(LaunchError):
    """The newest session left no run that is finished or stopped on purpose; `--again` may help."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionEnd:
    """How a session ended, as it wrote itself."""

    session: int
    exit_code: int
    """Of trainer.task, or 2 if it never came to that."""
    reason: str
    files: dict[str, str]
    """SHA-256 of every file of the run's folder."""


def define_flags() -> None:
    """Defines the verb's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of the run, as given to push.", required=True)


def main() -> None:
    """Fetches the outputs and says what to do with them."""
    run_dir = Path(flags.FLAGS.run_dir)
    launch = load_launch(run_dir)
    kernels = Kernels(connect(launch.name))
    end = fetch(run_dir, launch, kernels)
    if end.exit_code == EXIT_UNFINISHED:
        kernels.connection.report(
            f"the run stopped at its deadline; go on: python -m launch.kaggle chain "
            f"--run_dir={run_dir}"
        )
        sys.exit(EXIT_UNFINISHED)
    kernels.connection.report(f"the run is finished; its folder is {run_dir}")


def fetch(run_dir: Path, launch: Launch, kernels: Kernels) -> SessionEnd:
    """Fetches the outputs of a session that is over; what is here already is not fetched again.

    Raises:
      KernelTaken: The kernel holds the session of another run.
      SessionFailed: It failed; what it left is here all the same.
      LaunchError: It is not over, or left something damaged.
      SubmissionError: Kaggle refuses or cannot be reached.
    """
    report = kernels.connection.report
    check_ours(run_dir, launch, kernels)
    state = kernels.session(launch.kernel)
    if not state.is_over:
        raise LaunchError(
            f"session {launch.session} of {launch.kernel} is {state}; one that is over is needed; "
            f"wait for it: python -m launch.kaggle logs --follow --run_dir={run_dir}"
        )
    folder = run_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"session-{launch.session}.log"
    write_atomically(log, kernels.log(launch.kernel))
    outputs = dict(kernels.outputs(launch.kernel))
    end = _read_end(run_dir, launch, outputs, kernels, log, str(state))
    num_bytes = num_fetched = 0
    for name, sha256 in end.files.items():
        path = _inside(run_dir, name)
        if path.is_file() and sha256_of(path) == sha256:
            continue
        address = outputs.get(f"{RUN_FOLDER}/{name}")
        if address is None or kernels.download(address, path) != sha256:
            path.unlink(missing_ok=True)
            raise LaunchError(
                f"{name} came {'not at all' if address is None else 'damaged'} from "
                f"{launch.kernel}; every file of the run is needed; start the same command again"
            )
        num_fetched += 1
        num_bytes += path.stat().st_size
    # A session that failed before it had any leaves those here to go on from.
    if any(name.endswith(WEIGHTS_SUFFIX) for name in end.files):
        _remove_outdated(run_dir, end)
    report(
        f"session {end.session}: {num_fetched} of {len(end.files)} files fetched, "
        f"{num_bytes / 1e6:.1f} MB; log in {log}"
    )
    if end.exit_code not in (0, EXIT_UNFINISHED):
        raise SessionFailed(
            f"session {end.session} failed with exit code {end.exit_code}"
            f"{': ' + end.reason if end.reason else ''}; a session that trains is needed; read "
            f"{log}, correct what it names, then: {_again(run_dir)}"
        )
    save_launch(run_dir, dataclasses.replace(launch, fetched_session=launch.session))
    return end


def _read_end(
    run_dir: Path,
    launch: Launch,
    outputs: dict[str, str],
    kernels: Kernels,
    log: Path,
    state: str,
) -> SessionEnd:
    if SESSION_FILE not in outputs:
        raise SessionFailed(
            f"session {launch.session} of {launch.kernel} ended without outputs ({state}); those "
            f"of a session that ended by itself are needed; read {log} (a shorter --deadline "
            f"leaves more time to save), then: {_again(run_dir)}"
        )
    path = run_dir / FOLDER / SESSION_FILE
    kernels.download(outputs[SESSION_FILE], path)
    record = json.loads(path.read_text())
    found = tuple(record[name] for name in ("name", "session", "start"))
    if found != (launch.name, launch.session, launch.start):
        raise SessionFailed(
            f"{launch.kernel} left session {record['session']} (start {record['start']}) of "
            f"{record['name']}; session {launch.session} (start {launch.start}) of {launch.name} "
            "is needed; if it was pushed a moment ago, start the same command again; if another "
            f"took its place, start it once more: {_again(run_dir)}"
        )
    _keep_record(path, session_file(run_dir, launch.session))
    return SessionEnd(
        session=record["session"],
        exit_code=record["exit_code"],
        reason=record["reason"],
        files=record["files"],
    )


def session_file(run_dir: Path, session: int) -> Path:
    """Where `session.json` of a session is kept."""
    return run_dir / FOLDER / f"session-{session}.json"


def _again(run_dir: Path) -> str:
    return f"python -m launch.kaggle chain --again --run_dir={run_dir}"


def _inside(run_dir: Path, name: str) -> Path:
    path = run_dir / name
    if not path.resolve().is_relative_to(run_dir.resolve()):
        raise LaunchError(
            f"the session lists a file {name!r} outside of its folder; names inside are needed; do "
            "not fetch from this kernel"
        )
    return path


def _keep_record(path: Path, kept: Path) -> None:
    """Keeps the record of a session; what an earlier start of it left stays on record, too."""
    if kept.exists() and (earlier := sha256_of(kept)) != sha256_of(path):
        kept.replace(kept.with_stem(f"{kept.stem}-{earlier[:8]}"))
    path.replace(kept)


def _remove_outdated(run_dir: Path, end: SessionEnd) -> None:
    """Removes checkpoints that the session removed: the trainer must not go on from them.

    Only those that a session left: other files of the folder are the user's own.
    """
    fetched: set[str] = set()
    for record in (run_dir / FOLDER).glob("session-*.json"):
        fetched.update(json.loads(record.read_text())["files"])
    for path in run_dir.rglob(f"*{WEIGHTS_SUFFIX}"):
        name = path.relative_to(run_dir).as_posix()
        if name in fetched and name not in end.files:
            path.unlink()
