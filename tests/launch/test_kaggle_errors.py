"""Refusals that the doctor can look into lead to it."""

from pathlib import Path

import pytest

from launch.kaggle_chain import chain
from launch.kaggle_client import Kernels
from launch.kaggle_datasets import Datasets
from launch.kaggle_errors import explain, with_doctor
from launch.kaggle_fetch import fetch
from launch.kaggle_logs import follow
from launch.kaggle_push import push
from launch.kaggle_record import load_launch
from launch.kaggle_request import PushRequest
from tests.kaggle_server import Fault, KaggleServer
from trainer.submission.errors import SubmissionError
from trainer.submission.failures import Failure, Kind

DOCTOR = "python -m launch.kaggle doctor"
KERNEL = "driver/train-b5"


@pytest.fixture(autouse=True)
def small_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.kaggle_package.pack", lambda folder: b"the packages")


@pytest.fixture
def request_(tmp_path: Path) -> PushRequest:
    return PushRequest(
        run_dir=tmp_path / "b5",
        name="train-b5",
        recipe="demo",
        accelerator="tpu",
        deadline="1h",
        competitions=("cars",),
    )


def message(failure: Failure) -> str:
    return str(with_doctor(explain)(failure, "train-b5", 1))


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_refusals_lead_to_the_doctor(status: int) -> None:
    failure = Failure(kind=Kind.STATUS, step="pushing the kernel", status=status)
    assert message(failure).endswith(DOCTOR)


def test_missing_credentials_lead_to_the_doctor() -> None:
    assert message(Failure(kind=Kind.NO_CREDENTIALS, step="signing in")).endswith(DOCTOR)


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_what_the_account_has_no_part_in_does_not(status: int) -> None:
    assert DOCTOR not in message(Failure(kind=Kind.STATUS, step="pushing", status=status))


@pytest.mark.parametrize("kind", [Kind.TIMEOUT, Kind.CONNECTION, Kind.GARBLED, Kind.CLIENT])
def test_a_network_that_fails_does_not(kind: Kind) -> None:
    assert DOCTOR not in message(Failure(kind=kind, step="pushing the kernel"))


def test_refused_upload_speaks_of_the_clock_which_the_doctor_reads() -> None:
    failure = Failure(kind=Kind.STATUS, step="uploading the file", status=403, is_upload=True)
    assert "check the clock of this machine" in message(failure)
    assert message(failure).endswith(DOCTOR)


def test_push_without_a_quota_leads_to_the_doctor_of_that_accelerator(
    kaggle: KaggleServer, kernels: Kernels, datasets: Datasets, request_: PushRequest
) -> None:
    kaggle.machines.quota_hours["tpuQuota"] = (20.0, 20.0)
    with pytest.raises(SubmissionError, match=r"weekly quota .* --accelerator=tpu") as caught:
        push(request_, kernels, datasets)
    assert f"{DOCTOR} --accelerator=tpu --competition=cars" in str(caught.value)


def test_push_before_the_rules_are_accepted_leads_to_the_doctor_of_that_competition(
    kaggle: KaggleServer, kernels: Kernels, datasets: Datasets, request_: PushRequest
) -> None:
    kaggle.machines.closed.add("cars")
    with pytest.raises(SubmissionError, match="could not attach cars") as caught:
        push(request_, kernels, datasets)
    assert f"{DOCTOR} --accelerator=tpu --competition=cars" in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("verb", ["status", "logs", "fetch", "chain"])
def test_every_verb_that_is_refused_leads_to_the_doctor(
    kaggle: KaggleServer,
    kernels: Kernels,
    datasets: Datasets,
    request_: PushRequest,
    verb: str,
    status: int,
) -> None:
    push(request_, kernels, datasets)
    launch = load_launch(request_.run_dir)
    kaggle.fail("GetKernelSessionStatus", Fault(status=status), times=9)
    calls = {
        "status": lambda: kernels.session(KERNEL),
        "logs": lambda: follow(kernels, KERNEL),
        "fetch": lambda: fetch(request_.run_dir, launch, kernels),
        "chain": lambda: chain(request_.run_dir, kernels, datasets, max_sessions=2),
    }
    with pytest.raises(SubmissionError, match=f"{DOCTOR}$"):
        calls[verb]()


@pytest.mark.usefixtures("kaggle")
def test_push_without_credentials_leads_to_the_doctor(
    kernels: Kernels,
    datasets: Datasets,
    request_: PushRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    with pytest.raises(SubmissionError, match=f"no Kaggle credentials found; .*{DOCTOR}$"):
        push(request_, kernels, datasets)
