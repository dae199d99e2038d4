r"""Trains a recipe in a session on Kaggle's machines.

    python -m launch.kaggle push --run_dir=runs/b5 --recipe=ford_vs_ferrari --accelerator=tpu \
        --competition=sf-dl-car-classification -- --weights=noisy-student

What stands behind `--` goes to trainer.task. The same push again starts nothing: it tells what is
there; --again starts a second session of the same settings.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import flags

from launch.kaggle_client import Kernels, connect, print_line
from launch.kaggle_datasets import Datasets
from launch.kaggle_kernel import KernelSettings
from launch.kaggle_package import launch_id as id_of
from launch.kaggle_package import make_script, requirements
from launch.kaggle_record import (
    DEADLINES,
    FOLDER,
    MACHINES,
    SESSION_LIMIT_SECS,
    Launch,
    LaunchError,
    check_name,
    default_name,
    load_launch,
    save_launch,
)
from tfrecords_builder.manifest import load_manifest
from trainer.engine.stop import parse_duration
from trainer.recipes import load_recipe
from trainer.submission.connection import CallFailed

LIST_LAG_SECS = 10.0
"""How long after a lost answer the kernel is looked for; it may show up late."""
_GRACE_SECS = 900
"""From the trainer's deadline to Kaggle's: to write the checksums of the outputs."""
_OWN_FLAGS = ("data", "run_dir", "recipe", "strategy", "deadline")
_SUBMIT_FLAGS = ("auto_submit", "competition", "sample_submission")


def define_flags() -> None:
    """Defines the verb's flags."""
    flags.DEFINE_string("run_dir", None, "Folder of the run; gets the outputs.", required=True)
    flags.DEFINE_string("recipe", None, "Name of a recipe, see trainer/recipes.", required=True)
    flags.DEFINE_enum("accelerator", "gpu", tuple(MACHINES), "tpu: v5e-8; gpu: two T4; or cpu.")
    flags.DEFINE_multi_string("competition", [], "Attach this competition's data; repeatable.")
    flags.DEFINE_multi_string("dataset", [], "Attach this data set, OWNER/NAME; repeatable.")
    flags.DEFINE_string("data", None, "Built records here, uploaded once as a private data set.")
    flags.DEFINE_multi_string(
        "build", [], "A flag of tfrecords_builder for raw photos; {input} is where they are."
    )
    flags.DEFINE_string("deadline", None, "Stop, saved, after this time; 8h30m or 11h30m.")
    flags.DEFINE_string("name", None, "Of the kernel; made of --run_dir by default.")
    flags.DEFINE_bool("again", False, "Start a session although the same one was pushed before.")
    flags.DEFINE_bool("dry_run", False, "Write the script, say what would be done, push nothing.")


@dataclass(frozen=True, kw_only=True, slots=True)
class PushRequest:
    """What a push asks for; see the flags."""

    run_dir: Path
    name: str
    recipe: str
    accelerator: str
    deadline: str
    trainer_flags: tuple[str, ...] = ()
    build_flags: tuple[str, ...] = ()
    competitions: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    data_dir: Path | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        load_recipe(self.recipe)
        if not (self.competitions or self.datasets or self.data_dir):
            raise LaunchError(
                "nothing to train on was given; data that Kaggle can attach are needed; add "
                "--competition=NAME, --dataset=OWNER/NAME or --data=DIR"
            )
        for dataset in self.datasets:
            if len(dataset.split("/")) != 2 or not all(dataset.split("/")):
                raise LaunchError(
                    f"--dataset={dataset} names no data set; OWNER/NAME is needed; take the last "
                    "two parts of its address"
                )
        if self.data_dir is not None:
            load_manifest(str(self.data_dir))
        limit = SESSION_LIMIT_SECS[self.accelerator]
        if not 0 < parse_duration(self.deadline) < limit:
            raise LaunchError(
                f"--deadline={self.deadline} is not within a session; Kaggle ends one on "
                f"{self.accelerator} after {limit // 3600} h; give less, "
                f"{DEADLINES[self.accelerator]} for example"
            )
        _check_trainer_flags(self.trainer_flags)


def _check_trainer_flags(given: Sequence[str]) -> None:
    for flag in given:
        name = flag.lstrip("-").partition("=")[0].removeprefix("no")
        if not flag.startswith("--"):
            raise LaunchError(
                f"{flag!r} behind `--` is not a flag; flags of trainer.task as --flag=value are "
                "needed there"
            )
        if name in _OWN_FLAGS:
            raise LaunchError(
                f"--{name} behind `--` is set by push itself; flags of trainer.task that push does "
                "not know are needed there; give it before `--`"
            )
        if name in _SUBMIT_FLAGS:
            raise LaunchError(
                f"--{name} needs your credentials on the machine that trains; they stay here; "
                "fetch the run and use trainer.predict and trainer.submit"
            )


def main(arguments: Sequence[str]) -> None:
    """Pushes as the flags say."""
    values = flags.FLAGS
    run_dir = Path(values.run_dir)
    request = PushRequest(
        run_dir=run_dir,
        name=values.name or default_name(run_dir),
        recipe=values.recipe,
        accelerator=values.accelerator,
        deadline=values.deadline or DEADLINES[values.accelerator],
        trainer_flags=tuple(arguments),
        build_flags=tuple(values.build),
        competitions=tuple(values.competition),
        datasets=tuple(values.dataset),
        data_dir=Path(values.data) if values.data else None,
    )
    if values.dry_run:
        _describe(request)
        return
    connection = connect(request.name)
    push(request, Kernels(connection), Datasets(connection), again=values.again)


def _describe(request: PushRequest) -> None:
    script = make_script(_settings(request, session=1, start=1, state_sha256=None))
    path = request.run_dir / FOLDER / "session-1.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script, encoding="utf-8")
    print_line(f"{path}: {len(script.encode()) / 1e3:.0f} kB of at most 1000 kB")
    attached = [*request.competitions, *request.datasets]
    if request.data_dir is not None:
        attached.append(f"{request.data_dir} as {request.name}-data")
    print_line(f"kernel {request.name} on {MACHINES[request.accelerator] or 'CPUs'}, private")
    print_line(f"attached: {', '.join(attached)}")
    print_line(
        f"trainer.task --recipe={request.recipe} --deadline={request.deadline} "
        f"{shlex.join(request.trainer_flags)}".rstrip()
    )
    print_line("a dry run: nothing was pushed")


def push(
    request: PushRequest, kernels: Kernels, datasets: Datasets, *, again: bool = False
) -> Launch:
    """Starts the first session of a run, unless that was done.

    Raises:
      LaunchError: The folder belongs to another launch, or a session is running.
      SubmissionError: Kaggle refuses or cannot be reached.
    """
    report = kernels.connection.report
    before = _launch_in(request.run_dir)
    kernel = f"{kernels.owner()}/{request.name}"
    uploaded: tuple[str, ...] = ()
    if request.data_dir is not None:
        uploaded = (f"{kernel}-data",)
        if datasets.upload(uploaded[0], request.data_dir):
            report(f"{request.data_dir} uploaded as data set {uploaded[0]}")
        else:
            report(f"data set {uploaded[0]} holds {request.data_dir} already")
    launch = Launch(
        kernel=kernel,
        accelerator=request.accelerator,
        recipe=request.recipe,
        deadline=request.deadline,
        trainer_flags=request.trainer_flags,
        build_flags=request.build_flags,
        competitions=request.competitions,
        datasets=(*uploaded, *request.datasets),
        data_dir=str(request.data_dir) if request.data_dir else None,
        session=1,
        start=1,
        launch_id="",
        version=0,
        fetched_session=0,
    )
    if before is not None:
        if _asked_for(before) != _asked_for(launch):
            raise LaunchError(
                f"{request.run_dir} holds the launch of {before.kernel} with other settings; the "
                "same are needed to push it again; give another --run_dir (and --name)"
            )
        if before.session > 1 or before.fetched_session:
            raise LaunchError(
                f"the run in {request.run_dir} has got to session {before.session}; push starts "
                "the first one of a run; go on with: python -m launch.kaggle chain "
                f"--run_dir={request.run_dir}"
            )
        if before.version and not again and _is_there(before, kernels):
            report(
                f"this run was pushed already as version {before.version} of {kernel}; it was not "
                "started a second time; --again starts it once more"
            )
            return before
        launch = dataclasses.replace(launch, start=before.start + again)
    launch = start_session(launch, None, kernels, again=again)
    save_launch(request.run_dir, launch)
    return launch


def _is_there(launch: Launch, kernels: Kernels) -> bool:
    there = kernels.state(launch.kernel)
    return there is not None and there.launch_id == launch.launch_id


def start_session(
    launch: Launch, state_sha256: str | None, kernels: Kernels, *, again: bool = False
) -> Launch:
    """Pushes the launch's session once, whatever is lost on the way; returns it with its version.

    Raises:
      LaunchError: Another session of the kernel is running.
      SubmissionError: Kaggle refuses or cannot be reached.
    """
    connection = kernels.connection
    script = make_script(_settings(launch, launch.session, launch.start, state_sha256))
    wanted = id_of(script) or ""
    if connection.holds_secret(script):
        raise LaunchError(
            "a credential of yours is in what would be pushed; none may leave this machine; look "
            "at the flags behind `--` and at --build"
        )
    there = kernels.state(launch.kernel)
    if there is not None and there.launch_id != wanted:
        running = kernels.session(launch.kernel)
        if not running.is_over and running.status != "new_script" and not again:
            raise LaunchError(
                f"a session of {launch.kernel} is {running}; one at a time is needed; wait for it, "
                "or give --again to start another one beside it"
            )
    num_failed = 0
    while there is None or there.launch_id != wanted:
        try:
            version = kernels.push(_metadata(launch, state_sha256), script, _timeout_secs(launch))
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
    _check_switches(launch, kernels)
    return dataclasses.replace(launch, launch_id=wanted, version=version)


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


def _settings(
    source: "PushRequest | Launch", session: int, start: int, state_sha256: str | None
) -> KernelSettings:
    return KernelSettings(
        name=source.name,
        session=session,
        start=start,
        accelerator=source.accelerator,
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
    return min(limit, int(parse_duration(launch.deadline)) + _GRACE_SECS)


def _launch_in(run_dir: Path) -> Launch | None:
    return load_launch(run_dir) if (run_dir / FOLDER / "launch.json").exists() else None


def _asked_for(launch: Launch) -> Launch:
    """The launch without how far it has got."""
    return dataclasses.replace(
        launch, session=0, start=0, launch_id="", version=0, fetched_session=0
    )
