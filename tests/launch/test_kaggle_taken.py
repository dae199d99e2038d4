"""Two runs whose folders have the same name, and so by default the same kernel."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.kaggle_chain import chain
from launch.kaggle_client import Kernels
from launch.kaggle_datasets import Datasets
from launch.kaggle_fetch import fetch
from launch.kaggle_logs import show_log
from launch.kaggle_push import push
from launch.kaggle_record import load_launch, save_launch
from launch.kaggle_request import PushRequest
from launch.kaggle_status import tell_status
from launch.kaggle_taken import KernelTaken
from tests.kaggle_server import KaggleServer
from tests.launch.test_kaggle_sessions import FILES, KERNEL, files_in, leave

OTHER_FILES = {"run.json": b"{other}", "model.safetensors": b"others"}


@pytest.fixture
def ours(
    kaggle: KaggleServer,
    kernels: Kernels,
    datasets: Datasets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The folder of a run whose kernel another one has replaced; both have ended."""
    monkeypatch.setattr("launch.kaggle_package.pack", lambda folder: b"the packages")
    request = PushRequest(
        run_dir=tmp_path / "exp1/b5",
        name="train-b5",
        recipe="demo",
        accelerator="cpu",
        deadline="1h",
        competitions=("cars",),
    )
    push(request, kernels, datasets)
    leave(kaggle.machines.kernels[KERNEL][0], FILES)
    other = dataclasses.replace(request, run_dir=tmp_path / "exp2/b5", trainer_flags=("--seed=2",))
    push(other, kernels, datasets, again=True)
    leave(kaggle.machines.kernels[KERNEL][1], OTHER_FILES)
    return request.run_dir


Verb = Callable[[Path, Kernels, Datasets], object]
VERBS: dict[str, Verb] = {
    "fetch": lambda run_dir, kernels, _: fetch(run_dir, load_launch(run_dir), kernels),
    "chain": lambda run_dir, kernels, datasets: chain(run_dir, kernels, datasets, max_sessions=3),
    "status": lambda run_dir, kernels, _: tell_status(run_dir, kernels),
    "logs": lambda run_dir, kernels, _: show_log(run_dir, kernels),
    "logs --follow": lambda run_dir, kernels, _: show_log(run_dir, kernels, until_end=True),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_nothing_of_the_other_run_is_taken_for_this_one(
    ours: Path, kernels: Kernels, datasets: Datasets, verb: Verb
) -> None:
    with pytest.raises(KernelTaken, match=r"train-b5 holds version 2 of another run; version 1"):
        verb(ours, kernels, datasets)
    assert files_in(ours) == {}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_the_run_that_has_the_kernel_goes_on(
    ours: Path, kernels: Kernels, datasets: Datasets, verb: Verb, lines: list[str]
) -> None:
    verb(ours.parents[1] / "exp2/b5", kernels, datasets)
    assert lines


def test_chain_does_not_wait_for_the_session_of_another_run(
    ours: Path, kernels: Kernels, datasets: Datasets, kaggle: KaggleServer
) -> None:
    kaggle.machines.kernels[KERNEL][1].statuses = ["RUNNING", "COMPLETE"]
    kaggle.calls.clear()
    with pytest.raises(KernelTaken):
        chain(ours, kernels, datasets, max_sessions=3)
    assert "GetKernelSessionStatus" not in kaggle.calls


def test_chain_leaves_the_state_of_a_run_that_took_the_kernel_alone(
    ours: Path, kernels: Kernels, datasets: Datasets, kaggle: KaggleServer
) -> None:
    (ours / "model.safetensors").write_bytes(b"of session 1")
    save_launch(ours, dataclasses.replace(load_launch(ours), session=2, version=0))
    with pytest.raises(KernelTaken, match="--again to replace what is there"):
        chain(ours, kernels, datasets, max_sessions=3)
    assert not kaggle.machines.datasets
    assert len(kaggle.machines.kernels[KERNEL]) == 2


@pytest.mark.parametrize("is_prepared", [False, True])
def test_kernel_is_taken_back_when_told(
    ours: Path, kernels: Kernels, datasets: Datasets, kaggle: KaggleServer, is_prepared: bool
) -> None:
    if is_prepared:  # by a chain that was killed before its push
        save_launch(ours, dataclasses.replace(load_launch(ours), start=2, version=0))
    kaggle.machines.on_start = lambda session: leave(session, FILES, start=2)
    assert chain(ours, kernels, datasets, max_sessions=3, again=True) == 0
    assert files_in(ours) == FILES
    assert len(kaggle.machines.kernels[KERNEL]) == 3


def test_kernel_is_not_taken_back_while_the_other_run_is_running(
    ours: Path, kernels: Kernels, datasets: Datasets, kaggle: KaggleServer
) -> None:
    before = load_launch(ours)
    kaggle.machines.kernels[KERNEL][1].statuses = ["RUNNING"]
    with pytest.raises(KernelTaken):
        chain(ours, kernels, datasets, max_sessions=3, again=True)
    assert load_launch(ours) == before
    assert len(kaggle.machines.kernels[KERNEL]) == 2


def test_version_that_kaggle_shows_late_is_no_other_run(
    ours: Path, kernels: Kernels, kaggle: KaggleServer
) -> None:
    launch = dataclasses.replace(load_launch(ours), version=3)
    leave(kaggle.machines.kernels[KERNEL][1], FILES)
    assert fetch(ours, launch, kernels).exit_code == 0


def test_run_on_other_data_is_another_run(
    ours: Path, kernels: Kernels, datasets: Datasets, tmp_path: Path
) -> None:
    request = PushRequest(
        run_dir=tmp_path / "exp3/b5",
        name="train-b5",
        recipe="demo",
        accelerator="cpu",
        deadline="1h",
        trainer_flags=("--seed=2",),
        competitions=("trucks",),
    )
    with pytest.raises(KernelTaken):
        push(request, kernels, datasets)
