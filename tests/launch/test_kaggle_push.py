"""Pushing through the real client, to a stand-in of Kaggle that fails in every way."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from launch.kaggle_client import Kernels
from launch.kaggle_datasets import Datasets
from launch.kaggle_push import push
from launch.kaggle_record import LaunchError, load_launch, save_launch
from launch.kaggle_request import PushRequest
from launch.kaggle_taken import KernelTaken
from tests.kaggle_server import SIGNATURE, TOKEN, Fault, KaggleServer
from tfrecords_builder.errors import UserError
from trainer.submission.errors import KaggleUnavailable, SubmissionError

KERNEL = "driver/train-b5"


@pytest.fixture(autouse=True)
def small_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages as a few bytes: here it matters what is done with them."""
    monkeypatch.setattr("launch.kaggle_package.pack", lambda folder: b"the packages")


@pytest.fixture
def request_(tmp_path: Path) -> PushRequest:
    return PushRequest(
        run_dir=tmp_path / "b5",
        name="train-b5",
        recipe="demo",
        accelerator="tpu",
        deadline="8h30m",
        competitions=("cars",),
        trainer_flags=("--seed=3",),
    )


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("launch.kaggle_request.load_manifest", lambda folder: None)
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    (folder / "shard-0").write_bytes(bytes(range(256)) * 400)
    return folder


def _sent(kaggle: KaggleServer) -> dict:
    (session,) = kaggle.machines.kernels[KERNEL]
    return session.request


def test_push_asks_for_a_private_kernel_on_a_tpu(
    kaggle: KaggleServer, kernels: Kernels, datasets: Datasets, request_: PushRequest
) -> None:
    push(request_, kernels, datasets)
    sent = _sent(kaggle)
    assert sent.pop("text").startswith("# staged-trainer launch ")
    assert sent == {
        "slug": KERNEL,
        "newTitle": "train b5",
        "language": "python",
        "kernelType": "script",
        "isPrivate": True,
        "enableGpu": False,
        "enableTpu": True,
        "enableInternet": True,
        "competitionDataSources": ["cars"],
        "machineShape": "TpuV5E8",
        "sessionTimeoutSeconds": 8 * 3600 + 30 * 60 + 900,
    }


@pytest.mark.parametrize(("accelerator", "machine"), [("gpu", "NvidiaTeslaT4"), ("cpu", None)])
def test_other_machines_have_their_own_names(
    kaggle: KaggleServer,
    kernels: Kernels,
    datasets: Datasets,
    request_: PushRequest,
    accelerator: str,
    machine: str | None,
) -> None:
    push(dataclasses.replace(request_, accelerator=accelerator), kernels, datasets)
    assert _sent(kaggle).get("machineShape") == machine
    assert _sent(kaggle)["enableGpu"] is (accelerator == "gpu")


def test_same_push_twice_starts_one_session(
    kaggle: KaggleServer,
    kernels: Kernels,
    datasets: Datasets,
    request_: PushRequest,
    lines: list[str],
) -> None:
    first = push(request_, kernels, datasets)
    assert push(request_, kernels, datasets) == first
    assert len(kaggle.machines.kernels[KERNEL]) == 1
    assert "not started a second time" in lines[-1]


def test_push_from_another_machine_finds_the_session(
    kaggle: KaggleServer, kernels: Kernels, datasets: Datasets, request_: PushRequest
) -> None:
    first = push(request_, kernels, datasets)
    (request_.run_dir / "kaggle" / "launch.json").unlink()
    assert push(request_, kernels, datasets) == first
    assert len(kaggle.machines.kernels[KERNEL]) == 1


def test_same_push_twice_starts_two_sessions_when_told(
    kaggle: KaggleServer, kernels: Kernels, datasets: Datasets, request_: PushRequest
) -> None:
    push(request_, kernels, datasets)
    assert push(request_, kernels, datasets, again=True).version == 2
    assert len(kaggle.machines.kernels[KERNEL]) == 2


def test_running_session_of_other_settings_is_not_replaced(
    kaggle: KaggleServer,
    kernels: Kernels,
    datasets: Datasets,
    request_: PushRequest,
    tmp_path: Path,
) -> None:
    push(request_, kernels, datasets)
    kaggle.machines.kernels[KERNEL][0].statuses = ["RUNNING"]
    other = dataclasses.replace(request_, run_dir=tmp_path / "other", recipe="cars_small")
    with pytest.raises(KernelTaken, match=r"driver/train-b5 holds version 1 of another run"):
        push(other, kernels, datasets)
    assert len(kaggle.machines.kernels[KERNEL]) == 1


def test_kernel_of_another_run_is_replaced_only_when_told(
    kaggle: KaggleServer,
    kernels: Kernels,
    datasets: Datasets,
    request_: PushRequest,
    tmp_path: Path,
    records: Path,
) -> None:
    push(dataclasses.replace(request_, data_dir=records), kernels, datasets)
    (records / "shard-0").write_bytes(b"of the other")
    other = dataclasses.replace(
        request_, run_dir=tmp_path / "other/b5", data_dir=records, trainer_flags=("--seed=4",)
    )
    with pytest.raises(KernelTaken, match="give push another --name"):
        push(other, kernels, datasets)
    assert len(kaggle.machines.kernels[KERNEL]) == 1
    assert kaggle.machines.datasets["driver/train-b5-data"].version == 1
    assert push(other, kernels, datasets, again=True).version == 2
    # Nor does the first one take it back.
    with pytest.raises(KernelTaken, match="give push another --name"):
        push(dataclasses.replace(request_, data_dir=records), kernels, datasets)


def test_session_of_the_run_that_is_running_is_not_replaced(
    kaggle: KaggleServer,
    kernels: Kernels,
    datasets: Datasets,
    request_: PushRequest,
) -> None:
    launch = push(request_, kernels, datasets)
    save_launch(request_.run_dir, dataclasses.replace(launch, start=2, version=0))
    kaggle.machines.kernels[KERNEL][0].statuses = ["RUNNING"]
    with pytest.raises(LaunchError, match=r"a session of driver/train-b5 is running"):
        push(request_, kernels, datasets)
    assert len(kaggle.machines.kernels[KERNEL]) == 1


@pytest.mark.usefixtures("kaggle")
def test_folder_of_another_launch_is_refused(
    kernels: Kernels, datasets: Datasets, request_: PushRequest
) -> None:
    push(request_, kernels, datasets)
    with pytest.raises(LaunchError, match="with other settings"):
        push(dataclasses.replace(request_, recipe="cars_small"), kernels, datasets)


@pytest.mark.usefixtures("kaggle")
@pytest.mark.parametrize(
    "name", ["run.json", "model.safetensors", "checkpoints/1.safetensors", "b4/model.safetensors"]
)
def test_folder_that_holds_a_run_already_is_refused(request_: PushRequest, name: str) -> None:
    path = request_.run_dir / name
    path.parent.mkdir(parents=True)
    path.write_text("trained here")
    with pytest.raises(LaunchError, match=rf"holds a run \({name}\).*; an empty folder is needed"):
        dataclasses.replace(request_)


@pytest.mark.usefixtures("kaggle")
def test_folder_of_a_launch_may_hold_what_its_sessions_left(
    kernels: Kernels, datasets: Datasets, request_: PushRequest
) -> None:
    (request_.run_dir / "kaggle").mkdir(parents=True)
    (request_.run_dir / "kaggle" / "session-1.py").write_text("of a dry run")
    first = push(dataclasses.replace(request_), kernels, datasets)
    (request_.run_dir / "model.safetensors").write_text("of a session that failed")
    assert push(dataclasses.replace(request_), kernels, datasets) == first


PASSING = [
    Fault(status=429, retry_after="1"),
    Fault(status=500),
    Fault(status=503),
    Fault(cut=True),
    Fault(hang=True),
    Fault(garbled=True),
    Fault(cut=True, after_action=True),
    Fault(status=503, after_action=True),
]


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_one_session_is_started_whatever_is_lost_on_the_way(
    kaggle: KaggleServer,
    kernels: Kernels,
    datasets: Datasets,
    request_: PushRequest,
    fault: Fault,
) -> None:
    kaggle.fail("SaveKernel", fault)
    assert push(request_, kernels, datasets).version == 1
    assert len(kaggle.machines.kernels[KERNEL]) == 1


@pytest.mark.parametrize("call", ["GetKernel", "GetDataset", "GetDatasetStatus", "CreateDataset"])
@pytest.mark.parametrize("fault", PASSING[:6], ids=str)
def test_passing_fault_of_every_other_call_is_survived(
    kaggle: KaggleServer,
    kernels: Kernels,
    datasets: Datasets,
    request_: PushRequest,
    records: Path,
    call: str,
    fault: Fault,
) -> None:
    kaggle.fail(call, fault)
    push(dataclasses.replace(request_, data_dir=records), kernels, datasets)
    assert len(kaggle.machines.kernels[KERNEL]) == 1


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, "look at what was given"),
        (401, "make a new one at"),
        (403, "verified phone number"),
        (404, "everything attached to it must exist"),
        (409, "give another --name"),
    ],
)
def test_lasting_refusal_names_its_remedy_and_is_not_tried_again(
    kaggle: KaggleServer,
    kernels: Kernels,
    datasets: Datasets,
    request_: PushRequest,
    status: int,
    remedy: str,
) -> None:
    kaggle.fail("SaveKernel", Fault(status=status))
    with pytest.raises(SubmissionError, match=remedy) as caught:
        push(request_, kernels, datasets)
    assert not isinstance(caught.value, KaggleUnavailable)
    assert kaggle.calls.count("SaveKernel") == 1
    assert not (request_.run_dir / "kaggle" / "launch.json").exists()


def test_lasting_outage_says_to_start_again(
    kaggle: KaggleServer, kernels: Kernels, datasets: Datasets, request_: PushRequest
) -> None:
    kaggle.fail("SaveKernel", Fault(status=503), times=99)
    with pytest.raises(KaggleUnavailable, match=r"503 .* 6 times while pushing the kernel"):
        push(request_, kernels, datasets)


def test_data_that_cannot_be_attached_are_told(
    kaggle: KaggleServer, kernels: Kernels, datasets: Datasets, request_: PushRequest
) -> None:
    wanted = dataclasses.replace(request_, datasets=("someone/gone",))
    with pytest.raises(SubmissionError, match="could not attach someone/gone"):
        push(wanted, kernels, datasets)


def test_session_that_had_no_data_is_started_again_when_told(
    kaggle: KaggleServer, kernels: Kernels, datasets: Datasets, request_: PushRequest
) -> None:
    kaggle.machines.closed.add("cars")
    with pytest.raises(SubmissionError, match="could not attach cars"):
        push(request_, kernels, datasets)
    kaggle.machines.closed.clear()
    push(request_, kernels, datasets, again=True)
    assert len(kaggle.machines.kernels[KERNEL]) == 2


def test_internet_switch_that_kaggle_turned_off_is_told(
    kaggle: KaggleServer,
    kernels: Kernels,
    datasets: Datasets,
    request_: PushRequest,
    lines: list[str],
) -> None:
    kaggle.machines.internet_allowed = False
    push(request_, kernels, datasets)
    assert "turned the internet switch of the kernel off" in lines[-1]


def test_records_are_uploaded_once_and_attached(
    kaggle: KaggleServer,
    kernels: Kernels,
    datasets: Datasets,
    request_: PushRequest,
    records: Path,
) -> None:
    wanted = dataclasses.replace(request_, data_dir=records)
    push(wanted, kernels, datasets)
    kaggle.calls.clear()
    push(wanted, kernels, datasets, again=True)
    assert "Upload" not in kaggle.calls
    stored = kaggle.machines.datasets["driver/train-b5-data"].files
    assert stored == {path.name: path.read_bytes() for path in records.iterdir()}
    assert kaggle.machines.kernels[KERNEL][-1].request["datasetDataSources"] == [
        "driver/train-b5-data"
    ]


def test_changed_records_are_a_new_version(
    kaggle: KaggleServer, datasets: Datasets, records: Path
) -> None:
    assert datasets.upload("driver/train-b5-data", records)
    (records / "shard-0").write_bytes(b"others")
    assert datasets.upload("driver/train-b5-data", records)
    assert kaggle.machines.datasets["driver/train-b5-data"].version == 2
    assert kaggle.machines.datasets["driver/train-b5-data"].files["shard-0"] == b"others"


def test_hidden_and_empty_files_are_left_out(
    kaggle: KaggleServer, datasets: Datasets, records: Path
) -> None:
    (records / ".build").mkdir()
    (records / ".build" / "plan").write_text("x")
    (records / "empty.csv").touch()
    datasets.upload("driver/train-b5-data", records)
    stored = kaggle.machines.datasets["driver/train-b5-data"].files
    assert set(stored) == {"manifest.json", "shard-0"}


def test_cut_upload_is_gone_on_with(
    kaggle: KaggleServer, datasets: Datasets, records: Path
) -> None:
    kaggle.cut_upload_after = 1
    datasets.upload("driver/train-b5-data", records)
    stored = kaggle.machines.datasets["driver/train-b5-data"].files
    assert stored == {path.name: path.read_bytes() for path in records.iterdir()}
    assert kaggle.upload_starts == [1]


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_file_that_the_store_refuses_is_not_left_out(
    kaggle: KaggleServer, datasets: Datasets, records: Path, status: int
) -> None:
    kaggle.fail("Upload", Fault(status=status), times=999)
    with pytest.raises(SubmissionError, match=f"{status} .*while uploading the file"):
        datasets.upload("driver/train-b5-data", records)
    assert not kaggle.machines.datasets


def test_data_set_that_was_made_without_an_answer_is_not_made_twice(
    kaggle: KaggleServer, datasets: Datasets, records: Path
) -> None:
    kaggle.fail("CreateDataset", Fault(cut=True, after_action=True))
    datasets.upload("driver/train-b5-data", records)
    assert kaggle.machines.datasets["driver/train-b5-data"].version == 1


def test_no_secret_is_reported_stored_or_pushed(
    kaggle: KaggleServer,
    kernels: Kernels,
    datasets: Datasets,
    request_: PushRequest,
    records: Path,
    lines: list[str],
) -> None:
    kaggle.fail("Upload", Fault(status=503, message=f"https://x/y?signature={SIGNATURE}"))
    kaggle.fail("SaveKernel", Fault(status=500, message=f"Bearer {TOKEN}"))
    push(dataclasses.replace(request_, data_dir=records), kernels, datasets)
    stored = [path.read_text() for path in request_.run_dir.rglob("*") if path.is_file()]
    texts = [*lines, *stored, _sent(kaggle)["text"]]
    assert not [text for text in texts if TOKEN in text or SIGNATURE in text]


def test_token_among_the_flags_is_not_pushed(
    kaggle: KaggleServer, kernels: Kernels, datasets: Datasets, request_: PushRequest
) -> None:
    wanted = dataclasses.replace(request_, trainer_flags=(f"--weights={TOKEN}",))
    with pytest.raises(LaunchError, match="a credential of yours") as caught:
        push(wanted, kernels, datasets)
    assert TOKEN not in str(caught.value)
    assert KERNEL not in kaggle.machines.kernels


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"competitions": ()}, "nothing to train on"),
        ({"datasets": ("cars",)}, "OWNER/NAME is needed"),
        ({"deadline": "10h"}, "ends one on tpu after 9 h"),
        ({"deadline": "soon"}, "not understood"),
        ({"name": "No Name"}, "cannot be a kernel's name"),
        ({"recipe": "gone"}, "gone"),
        ({"data_dir": Path("gone")}, "gone"),
        ({"trainer_flags": ("--data=x",)}, "is set by push itself"),
        ({"trainer_flags": ("--auto_submit",)}, "they stay here"),
        ({"trainer_flags": ("seed=3",)}, "is not a flag"),
    ],
)
def test_mistake_is_told_before_anything_is_sent(
    request_: PushRequest, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(request_, **changes)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--wieghts=none", "wieghts"),
        ("--set=stages.heat.epochs=2", "heat"),
        ("--weights=noisy-student", "Tiny"),
        (f"--weights={__file__}", "is on this machine"),
    ],
)
def test_flag_that_the_trainer_would_refuse_over_there_is_refused_here(
    tmp_path: Path, flag: str, message: str
) -> None:
    push_flags = ("push", f"--run_dir={tmp_path}", "--recipe=demo", "--competition=cars")
    done = subprocess.run(
        [sys.executable, "-m", "launch.kaggle", *push_flags, "--dry_run", "--", flag],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "trainer.task would not start" in done.stderr
    assert message in done.stderr
    assert done.stdout == ""


def test_folder_that_was_never_pushed_from_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"push first: python -m launch\.kaggle push"):
        load_launch(tmp_path)
