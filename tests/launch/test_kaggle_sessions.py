"""Following, fetching and chaining sessions through the real client."""

import contextlib
import dataclasses
import json
from hashlib import sha256
from pathlib import Path

import pytest

from launch.kaggle_chain import chain
from launch.kaggle_client import Kernels
from launch.kaggle_datasets import Datasets
from launch.kaggle_fetch import SessionFailed, fetch
from launch.kaggle_logs import follow
from launch.kaggle_push import push
from launch.kaggle_record import Launch, LaunchError, load_launch, save_launch
from launch.kaggle_request import PushRequest
from tests.kaggle_machines import Session
from tests.kaggle_server import Fault, KaggleServer
from trainer.submission.errors import KaggleUnavailable, SubmissionError

KERNEL = "driver/train-b5"
FILES = {"run.json": b"{}", "model.safetensors": b"weights", "checkpoints/1.safetensors": b"1"}


def leave(
    session: Session,
    files: dict[str, bytes],
    exit_code: int = 0,
    number: int = 1,
    start: int = 1,
    name: str = "train-b5",
) -> None:
    """Lets the session have ended with these files of its run's folder."""
    record = {
        "name": name,
        "session": number,
        "start": start,
        "exit_code": exit_code,
        "reason": "",
        "seconds": 1.0,
        "files": {name: sha256(content).hexdigest() for name, content in files.items()},
    }
    session.outputs = {f"run/{name}": content for name, content in files.items()}
    session.outputs["session.json"] = json.dumps(record).encode()
    session.lines = [f"line {number}"]
    session.statuses = ["COMPLETE"]


@pytest.fixture
def launch(
    kaggle: KaggleServer,
    kernels: Kernels,
    datasets: Datasets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
) -> Launch:
    """A run whose first session has finished it."""
    monkeypatch.setattr("launch.kaggle_package.pack", lambda folder: b"the packages")
    request = PushRequest(
        run_dir=tmp_path / "b5",
        name="train-b5",
        recipe="demo",
        accelerator="cpu",
        deadline="1h",
        competitions=("cars",),
    )
    launch = push(request, kernels, datasets)
    leave(kaggle.machines.kernels[KERNEL][0], FILES)
    lines.clear()
    return launch


def files_in(run_dir: Path) -> dict[str, bytes]:
    return {
        path.relative_to(run_dir).as_posix(): path.read_bytes()
        for path in run_dir.rglob("*")
        if path.is_file() and "kaggle" not in path.parts[len(run_dir.parts) :]
    }


def test_outputs_become_the_run_folder(launch: Launch, kernels: Kernels, tmp_path: Path) -> None:
    assert fetch(tmp_path / "b5", launch, kernels).exit_code == 0
    assert files_in(tmp_path / "b5") == FILES
    assert (tmp_path / "b5/kaggle/session-1.log").read_text() == "line 1\n"


def test_what_is_here_is_not_fetched_again(
    launch: Launch, kernels: Kernels, kaggle: KaggleServer, tmp_path: Path
) -> None:
    fetch(tmp_path / "b5", launch, kernels)
    kaggle.calls.clear()
    fetch(tmp_path / "b5", launch, kernels)
    assert kaggle.calls.count("Output") == 1  # session.json


def test_checkpoints_that_the_session_removed_are_removed(
    launch: Launch, kernels: Kernels, kaggle: KaggleServer, tmp_path: Path
) -> None:
    fetch(tmp_path / "b5", launch, kernels)
    later = {**FILES, "checkpoints/2.safetensors": b"2"}
    del later["checkpoints/1.safetensors"]
    leave(kaggle.machines.kernels[KERNEL][0], later, number=2)
    fetch(tmp_path / "b5", dataclasses.replace(launch, session=2), kernels)
    assert files_in(tmp_path / "b5") == later


def test_checkpoints_of_an_earlier_start_of_the_session_are_removed(
    launch: Launch, kernels: Kernels, kaggle: KaggleServer, tmp_path: Path
) -> None:
    first = {**FILES, "checkpoints/9.safetensors": b"9"}
    leave(kaggle.machines.kernels[KERNEL][0], first, exit_code=137)
    with pytest.raises(SessionFailed):
        fetch(tmp_path / "b5", launch, kernels)
    assert files_in(tmp_path / "b5") == first
    second = {**FILES, "run.json": b"{2}"}
    session = kaggle.machines.kernels[KERNEL][0]
    leave(session, second, start=2)
    session.outputs["run/run.json"] = b"damaged"
    again = dataclasses.replace(launch, start=2)
    with pytest.raises(LaunchError, match="came damaged"):  # it must not forget what came before
        fetch(tmp_path / "b5", again, kernels)
    leave(session, second, start=2)
    fetch(tmp_path / "b5", again, kernels)
    assert files_in(tmp_path / "b5") == second


def test_weights_that_no_session_left_are_kept(
    launch: Launch, kernels: Kernels, tmp_path: Path
) -> None:
    mine = {"export/mine.safetensors": b"mine", "other/model.safetensors": b"other"}
    for name, content in mine.items():
        (tmp_path / "b5" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "b5" / name).write_bytes(content)
    fetch(tmp_path / "b5", launch, kernels)
    assert files_in(tmp_path / "b5") == FILES | mine


@pytest.mark.parametrize("call", ["ListKernelSessionOutput", "Output", "GetKernelSessionStatus"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, retry_after="1"),
        Fault(status=500),
        Fault(status=503),
        Fault(cut=True),
        Fault(hang=True),
    ],
    ids=str,
)
def test_passing_fault_of_a_fetch_is_survived(
    launch: Launch, kernels: Kernels, kaggle: KaggleServer, tmp_path: Path, call: str, fault: Fault
) -> None:
    kaggle.fail(call, fault)
    fetch(tmp_path / "b5", launch, kernels)
    assert files_in(tmp_path / "b5") == FILES


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refused_fetch_names_the_remedy(
    launch: Launch, kernels: Kernels, kaggle: KaggleServer, tmp_path: Path, status: int
) -> None:
    kaggle.fail("ListKernelSessionOutput", Fault(status=status), times=9)
    with pytest.raises(SubmissionError, match=f"Kaggle answered {status}") as caught:
        fetch(tmp_path / "b5", launch, kernels)
    assert not isinstance(caught.value, KaggleUnavailable)


def test_damaged_output_is_told_and_not_kept(
    launch: Launch, kernels: Kernels, kaggle: KaggleServer, tmp_path: Path
) -> None:
    kaggle.machines.kernels[KERNEL][0].outputs["run/model.safetensors"] = b"other"
    with pytest.raises(LaunchError, match=r"model\.safetensors came damaged"):
        fetch(tmp_path / "b5", launch, kernels)
    assert not (tmp_path / "b5/model.safetensors").exists()


def test_output_outside_of_the_folder_is_refused(
    launch: Launch, kernels: Kernels, kaggle: KaggleServer, tmp_path: Path
) -> None:
    leave(kaggle.machines.kernels[KERNEL][0], {"../evil": b"x"})
    with pytest.raises(LaunchError, match="outside of its folder"):
        fetch(tmp_path / "b5", launch, kernels)
    assert not (tmp_path / "evil").exists()


def test_failed_session_keeps_its_log_and_the_checkpoints_here(
    launch: Launch, kernels: Kernels, kaggle: KaggleServer, tmp_path: Path
) -> None:
    fetch(tmp_path / "b5", launch, kernels)
    leave(kaggle.machines.kernels[KERNEL][0], {}, exit_code=2)
    with pytest.raises(LaunchError, match=r"failed with exit code 2; .*session-1\.log"):
        fetch(tmp_path / "b5", launch, kernels)
    assert files_in(tmp_path / "b5") == FILES


def test_session_that_was_killed_is_told(
    launch: Launch, kernels: Kernels, kaggle: KaggleServer, tmp_path: Path
) -> None:
    session = kaggle.machines.kernels[KERNEL][0]
    session.outputs, session.statuses, session.failure = {}, ["ERROR"], "out of time"
    with pytest.raises(LaunchError, match=r"without outputs \(error \(out of time\)\)"):
        fetch(tmp_path / "b5", launch, kernels)


def test_running_session_is_not_fetched(
    launch: Launch, kernels: Kernels, kaggle: KaggleServer, tmp_path: Path
) -> None:
    kaggle.machines.kernels[KERNEL][0].statuses = ["QUEUED"]
    with pytest.raises(LaunchError, match="is queued; one that is over is needed"):
        fetch(tmp_path / "b5", launch, kernels)


@pytest.mark.parametrize(
    "fault",
    [None, Fault(cut=True), Fault(status=503), Fault(hang=True), Fault(status=429)],
    ids=str,
)
def test_log_is_followed_to_its_end_every_line_once(
    launch: Launch, kernels: Kernels, kaggle: KaggleServer, lines: list[str], fault: Fault | None
) -> None:
    session = kaggle.machines.kernels[KERNEL][0]
    session.lines = [f"line {index}\n" for index in range(5)]
    session.statuses = ["RUNNING", "RUNNING", "COMPLETE"]
    kaggle.machines.cut_logs_after = 2
    if fault is not None:
        kaggle.fail("Logs", fault)
    follow(kernels, KERNEL)
    assert [line for line in lines if line.startswith("line")] == [f"line {i}" for i in range(5)]
    assert lines[-1] == "the session is over: complete"


def test_chain_starts_the_next_session_from_the_checkpoints(
    launch: Launch, kernels: Kernels, datasets: Datasets, kaggle: KaggleServer, tmp_path: Path
) -> None:
    leave(kaggle.machines.kernels[KERNEL][0], FILES, exit_code=75)
    kaggle.machines.on_start = lambda session: leave(session, FILES, 0, number=2)
    assert chain(tmp_path / "b5", kernels, datasets, max_sessions=5) == 0
    second = kaggle.machines.kernels[KERNEL][1].request
    assert second["datasetDataSources"] == ["driver/train-b5-state"]
    stored = kaggle.machines.datasets["driver/train-b5-state"].files
    listed = json.loads(stored["state.json"])["files"]
    assert {file["path"]: stored[name] for name, file in listed.items()} == FILES
    assert f'"state_sha256": "{sha256(stored["state.json"]).hexdigest()}"' in second["text"]


@pytest.mark.parametrize("call", ["SaveKernel", "CreateDataset", "GetKernelSessionStatus"])
def test_chain_that_was_killed_goes_on_without_a_second_session(
    launch: Launch,
    kernels: Kernels,
    datasets: Datasets,
    kaggle: KaggleServer,
    tmp_path: Path,
    call: str,
) -> None:
    leave(kaggle.machines.kernels[KERNEL][0], FILES, exit_code=75)
    kaggle.machines.on_start = lambda session: leave(session, FILES, 0, number=2)
    kaggle.fail(call, Fault(cut=True, after_action=True), times=6)
    with contextlib.suppress(KaggleUnavailable):
        chain(tmp_path / "b5", kernels, datasets, max_sessions=5)
    kaggle.heal()
    assert chain(tmp_path / "b5", kernels, datasets, max_sessions=5) == 0
    assert len(kaggle.machines.kernels[KERNEL]) == 2
    assert load_launch(tmp_path / "b5").session == 2


def test_chain_stops_at_the_number_of_sessions(
    launch: Launch, kernels: Kernels, datasets: Datasets, kaggle: KaggleServer, tmp_path: Path
) -> None:
    leave(kaggle.machines.kernels[KERNEL][0], FILES, exit_code=75)
    assert chain(tmp_path / "b5", kernels, datasets, max_sessions=1) == 75
    assert len(kaggle.machines.kernels[KERNEL]) == 1


def test_chain_ends_when_a_session_trained_nothing(
    launch: Launch, kernels: Kernels, datasets: Datasets, kaggle: KaggleServer, tmp_path: Path
) -> None:
    leave(kaggle.machines.kernels[KERNEL][0], FILES, exit_code=75)
    kaggle.machines.on_start = lambda session: leave(session, FILES, 75, number=2)
    with pytest.raises(LaunchError, match=r"session 2 stopped .* before it had trained anything"):
        chain(tmp_path / "b5", kernels, datasets, max_sessions=5)


def test_chain_that_must_not_wait_leaves_a_running_session_alone(
    launch: Launch, kernels: Kernels, datasets: Datasets, kaggle: KaggleServer, tmp_path: Path
) -> None:
    kaggle.machines.kernels[KERNEL][0].statuses = ["RUNNING"]
    assert chain(tmp_path / "b5", kernels, datasets, max_sessions=5, wait=False) == 75


def test_failed_session_is_started_once_more_from_what_is_here(
    launch: Launch, kernels: Kernels, datasets: Datasets, kaggle: KaggleServer, tmp_path: Path
) -> None:
    fetch(tmp_path / "b5", launch, kernels)
    save_launch(tmp_path / "b5", dataclasses.replace(launch, session=2))
    leave(kaggle.machines.kernels[KERNEL][0], {}, exit_code=2, number=2)
    with pytest.raises(LaunchError, match="chain --again"):
        chain(tmp_path / "b5", kernels, datasets, max_sessions=5)
    kaggle.machines.on_start = lambda session: leave(session, FILES, 0, number=2, start=2)
    assert chain(tmp_path / "b5", kernels, datasets, max_sessions=5, again=True) == 0
    assert len(kaggle.machines.datasets["driver/train-b5-state"].files) == len(FILES) + 1


def test_failed_session_that_left_checkpoints_is_gone_on_with(
    launch: Launch, kernels: Kernels, datasets: Datasets, kaggle: KaggleServer, tmp_path: Path
) -> None:
    leave(kaggle.machines.kernels[KERNEL][0], FILES, exit_code=137)
    with pytest.raises(LaunchError, match="failed with exit code 137"):
        chain(tmp_path / "b5", kernels, datasets, max_sessions=5)
    kaggle.machines.on_start = lambda session: leave(session, FILES, 0, number=2)
    assert chain(tmp_path / "b5", kernels, datasets, max_sessions=5, again=True) == 0
    _, second = kaggle.machines.kernels[KERNEL]
    assert second.request["datasetDataSources"] == ["driver/train-b5-state"]
    stored = kaggle.machines.datasets["driver/train-b5-state"].files
    assert set(FILES.values()) <= set(stored.values())


def test_running_session_is_not_started_again(
    launch: Launch, kernels: Kernels, datasets: Datasets, kaggle: KaggleServer, tmp_path: Path
) -> None:
    (first,) = kaggle.machines.kernels[KERNEL]
    first.statuses = ["RUNNING"]
    with pytest.raises(LaunchError, match="is running; one that is over is needed"):
        chain(tmp_path / "b5", kernels, datasets, max_sessions=5, again=True)
    first.statuses = ["COMPLETE"]
    assert chain(tmp_path / "b5", kernels, datasets, max_sessions=5) == 0
    assert kaggle.machines.kernels[KERNEL] == [first]
    assert files_in(tmp_path / "b5") == FILES


def test_session_that_did_not_fail_is_not_started_again(
    launch: Launch,
    kernels: Kernels,
    datasets: Datasets,
    kaggle: KaggleServer,
    tmp_path: Path,
    lines: list[str],
) -> None:
    assert chain(tmp_path / "b5", kernels, datasets, max_sessions=5, again=True) == 0
    assert len(kaggle.machines.kernels[KERNEL]) == 1
    assert "session 1 did not fail; it is not repeated" in lines


def test_outputs_of_an_earlier_start_are_not_taken_for_those_of_the_newest(
    launch: Launch, kernels: Kernels, tmp_path: Path
) -> None:
    second = dataclasses.replace(launch, start=2)
    with pytest.raises(LaunchError, match=r"left session 1 \(start 1\) .*session 1 \(start 2\)"):
        fetch(tmp_path / "b5", second, kernels)


def test_chain_outlasts_a_night_without_a_network(
    launch: Launch, kernels: Kernels, datasets: Datasets, kaggle: KaggleServer, tmp_path: Path
) -> None:
    kaggle.fail("GetKernelSessionStatus", Fault(status=503), times=20)
    assert chain(tmp_path / "b5", kernels, datasets, max_sessions=5) == 0


def test_outputs_are_asked_for_as_they_are(
    launch: Launch, kernels: Kernels, kaggle: KaggleServer, tmp_path: Path
) -> None:
    kaggle.compresses_outputs = True
    fetch(tmp_path / "b5", launch, kernels)
    assert files_in(tmp_path / "b5") == FILES
