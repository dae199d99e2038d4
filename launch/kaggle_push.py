r"""Trains a recipe in a session on Kaggle's machines.

    python -m launch.kaggle push --run_dir=runs/b5 --recipe=ford_vs_ferrari --accelerator=tpu \
        --competition=sf-dl-car-classification -- --weights=noisy-student

What stands behind `--` goes to trainer.task. The same push again starts nothing: it tells what is
there; --again starts a second session of the same settings, or replaces that of another run.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from launch.kaggle_client import Kernels, connect, print_line
from launch.kaggle_contract import NUM_DEVICES, STRATEGIES
from launch.kaggle_datasets import Datasets
from launch.kaggle_package import MAX_SCRIPT_BYTES, make_script
from launch.kaggle_record import (
    DEADLINES,
    FOLDER,
    MACHINES,
    Launch,
    LaunchError,
    default_name,
    has_launch,
    load_launch,
)
from launch.kaggle_request import PushRequest
from launch.kaggle_session import session_settings, start_session
from launch.trainer_flags import check_trainer_flags


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
    flags.DEFINE_bool("again", False, "Start a session whatever was pushed to the kernel before.")
    flags.DEFINE_bool("dry_run", False, "Write the script, say what would be done, push nothing.")


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
    check_trainer_flags(
        [
            *("--data=DATA", f"--run_dir={run_dir}", f"--recipe={request.recipe}"),
            f"--strategy={STRATEGIES[request.accelerator]}",
            *request.trainer_flags,
        ],
        NUM_DEVICES[request.accelerator],
    )
    if values.dry_run:
        _describe(request)
        return
    connection = connect(request.name)
    push(request, Kernels(connection), Datasets(connection), again=values.again)


def _describe(request: PushRequest) -> None:
    script = make_script(session_settings(request, session=1, start=1, state_sha256=None))
    path = request.run_dir / FOLDER / "session-1.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script, encoding="utf-8")
    print_line(
        f"{path}: {len(script.encode()) / 1e3:.0f} kB of at most {MAX_SCRIPT_BYTES / 1e3:.0f} kB"
    )
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
      KernelTaken: The kernel holds the session of another run.
      LaunchError: The folder belongs to another launch, or a session is running.
      SubmissionError: Kaggle refuses or cannot be reached.
    """
    report = kernels.connection.report
    before = load_launch(request.run_dir) if has_launch(request.run_dir) else None
    kernel = f"{kernels.owner()}/{request.name}"
    uploaded = f"{kernel}-data"
    launch = Launch(
        kernel=kernel,
        accelerator=request.accelerator,
        recipe=request.recipe,
        deadline=request.deadline,
        trainer_flags=request.trainer_flags,
        build_flags=request.build_flags,
        competitions=request.competitions,
        datasets=(*([uploaded] if request.data_dir else []), *request.datasets),
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
        launch = dataclasses.replace(launch, start=before.start + again, launch_id=before.launch_id)

    def upload() -> None:
        if request.data_dir is None:
            return
        if datasets.upload(uploaded, request.data_dir):
            report(f"{request.data_dir} uploaded as data set {uploaded}")
        else:
            report(f"data set {uploaded} holds {request.data_dir} already")

    return start_session(request.run_dir, launch, None, kernels, upload=upload, again=again)


def _is_there(launch: Launch, kernels: Kernels) -> bool:
    there = kernels.state(launch.kernel)
    return there is not None and there.launch_id == launch.launch_id


def _asked_for(launch: Launch) -> Launch:
    """The launch without how far it has got."""
    return dataclasses.replace(
        launch, session=0, start=0, launch_id="", version=0, fetched_session=0
    )
