"""Starting a session: the script and its settings, pushed once whatever is lost on the way."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch.kaggle_client import Kernels, KernelState
from launch.kaggle_contract import KernelSettings
from launch.kaggle_errors import KaggleRefused, doctor_for
from launch.kaggle_package import launch_id as id_of
from launch.kaggle_package import make_script, requirements
from launch.kaggle_record import MACHINES, SESSION_LIMIT_SECS, Launch, LaunchError, save_launch
from launch.kaggle_request import PushRequest
from launch.kaggle_taken import check_replaceable
from trainer.engine.stop import parse_duration
from trainer.submission.connection import CallFailed

LIST_LAG_SECS = 10.0
"""How long after a lost answer the kernel is looked for; it may show up late."""
GRACE_SECS = 900
"""From the trainer's deadline to Kaggle's: to write the checksums of the outputs."""


def start_session(
    run_dir: Path,
    launch: Launch,
    state_sha256: str | None,
    kernels: Kernels,
    *,
    upload: Callable[[], None] | None = None,
    again: bool = False,
) -> Launch:
    """Pushes the launch's session once, whatever is lost on the way.

    Args:
      run_dir: Of the launch.
      launch: Its `launch_id` is that of the session which this one follows.
      state_sha256: Of the state that the session goes on from; None for the first one.
      kernels: Of the user.
      upload: Sends the data that the session is to find; called only if it is pushed, since what
        another run trains on must not change under it.
      again: Whether to replace what the kernel holds.

    Returns:
      The launch with its version, as it was saved in the run's folder.

    Raises:
      KernelTaken: The kernel holds the session of another run.
      LaunchError: Another session of the kernel is running.
      SubmissionError: Kaggle refuses, could not attach the data, or cannot be reached.
    """
    connection = kernels.connection
    script = make_script(session_settings(launch, launch.session, launch.start, state_sha256))
    wanted = id_of(script) or ""
    if connection.holds_secret(script):
        raise LaunchError(
            "a credential of yours is in what would be pushed; none may leave this machine; look "
            "at the flags behind `--` and at --build"
        )

    def look() -> KernelState | None:
        there = kernels.state(launch.kernel)
        if not again:
            check_replaceable(launch, wanted, there, kernels)
        return there

    there = look()
    if upload is not None and (there is None or there.launch_id != wanted):
        upload()
        there = look()  # it may have taken an hour
    metadata = _metadata(launch, state_sha256)
    missing: tuple[str, ...] = ()
    num_failed = 0
    while there is None or there.launch_id != wanted:
        try:
            pushed = kernels.push(metadata, script, _timeout_secs(launch))
            version, missing = pushed.version, pushed.missing
            connection.report(
                f"session {launch.session} started: version {version} of {launch.kernel}, "
                f"https://www.kaggle.com/code/{launch.kernel}"
            )
            break
        except CallFailed as failed:
            num_failed += 1
            connection.wait_after(failed.failure, num_failed, at_least_secs=LIST_LAG_SECS)
        there = kernels.state(launch.kernel)
    else:
        version = there.version
        connection.report(
            f"session {launch.session} was pushed already as version {version} of "
            f"{launch.kernel}; it was not started a second time"
        )
    # Before anything else can fail: it has started.
    launch = dataclasses.replace(launch, launch_id=wanted, version=version)
    save_launch(run_dir, launch)
    _check_switches(launch, kernels)
    if missing:
        raise KaggleRefused(
            f"Kaggle could not attach {', '.join(missing)} to {launch.kernel}; data that exist and "
            "whose rules are accepted are needed; the session that started finds no data and ends "
            f"by itself; see why: {doctor_for(metadata)}, then: python -m launch.kaggle chain "
            f"--again --run_dir={run_dir}"
        )
    return launch


def _check_switches(launch: Launch, kernels: Kernels) -> None:
    """Kaggle turns off without a word what an account may not have."""
    there = kernels.state(launch.kernel)
    if there is None:
        return
    if not there.internet:
        kernels.connection.report(
            "Warning: Kaggle turned the internet switch of the kernel off; pip needs it; verify "
            "your phone number at https://www.kaggle.com/settings and push with --again"
        )
    machine = MACHINES[launch.accelerator]
    if machine and there.machine and there.machine != machine:
        kernels.connection.report(
            f"Warning: Kaggle chose {there.machine} instead of {machine}; the session will stop "
            "if it does not see what it needs; look at the quota: python -m launch.kaggle doctor"
        )


def session_settings(
    source: PushRequest | Launch, session: int, start: int, state_sha256: str | None
) -> KernelSettings:
    """What the script of a session carries; `source` holds what all its sessions share."""
    return KernelSettings(
        name=source.name,
        session=session,
        start=start,
        accelerator=source.accelerator,
        data=(*source.competitions, *source.datasets),
        recipe=source.recipe,
        deadline=source.deadline,
        trainer_flags=source.trainer_flags,
        build_flags=source.build_flags,
        requirements=requirements(source.accelerator),
        state_sha256=state_sha256,
    )


def _metadata(launch: Launch, state_sha256: str | None) -> dict[str, Any]:
    """kernel-metadata.json. No docker image: a pinned one makes a TPU push fail without a word."""
    states = [launch.state_dataset] if state_sha256 else []
    machine = MACHINES[launch.accelerator]
    return {
        "id": launch.kernel,
        "title": launch.name.replace("-", " "),
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
        "enable_gpu": launch.accelerator == "gpu",
        "enable_tpu": launch.accelerator == "tpu",
        "enable_internet": True,
        "dataset_sources": [*launch.datasets, *states],
        "competition_sources": list(launch.competitions),
        **({"machine_shape": machine} if machine else {}),
    }


def _timeout_secs(launch: Launch) -> int:
    limit = SESSION_LIMIT_SECS[launch.accelerator]
    return min(limit, int(parse_duration(launch.deadline)) + GRACE_SECS)
