"""What the doctor finds, through the real client."""

from pathlib import Path

import pytest

from launch.kaggle_client import Kernels
from launch.kaggle_datasets import Datasets
from launch.kaggle_doctor import Finding, diagnose
from launch.kaggle_errors import Explain, explain
from launch.kaggle_push import push
from launch.kaggle_request import PushRequest
from tests.kaggle_server import KaggleServer


@pytest.fixture(autouse=True)
def small_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.kaggle_package.pack", lambda folder: b"the packages")


@pytest.fixture
def explanation() -> Explain:
    return explain  # a doctor that sends to the doctor helps nobody


def look(
    kernels: Kernels,
    accelerator: str = "tpu",
    deadline: str = "8h30m",
    competition: str = "cars",
    run_dir: Path | None = None,
) -> dict[str, Finding]:
    found = diagnose(
        kernels,
        accelerator=accelerator,
        competition=competition,
        deadline=deadline,
        run_dir=run_dir,
    )
    return {finding.check: finding for finding in found}


@pytest.mark.usefixtures("kaggle")
def test_healthy_account_has_nothing_to_do(kernels: Kernels) -> None:
    found = look(kernels)
    assert set(found) == {"package", "credentials", "quota", "clock", "rules", "internet"}
    assert not [finding for finding in found.values() if finding.remedy]
    assert found["credentials"].found == "signed in as driver"
    assert "20.0 of 20 h left for tpu" in found["quota"].found


def test_quota_that_is_too_small_for_the_session_is_told(
    kaggle: KaggleServer, kernels: Kernels
) -> None:
    kaggle.machines.quota_hours["tpuQuota"] = (15.0, 20.0)
    # Five hours, and a quarter of one to write the outputs.
    assert look(kernels)["quota"].remedy.endswith("push with --deadline=285m")
    assert not look(kernels, deadline="285m")["quota"].remedy
    assert look(kernels, deadline="5h")["quota"].remedy
    kaggle.machines.quota_hours["tpuQuota"] = (20.0, 20.0)
    assert look(kernels)["quota"].remedy.startswith("wait for new hours")
    assert not look(kernels, deadline="1h", accelerator="gpu")["quota"].remedy


@pytest.mark.usefixtures("kaggle")
def test_wrong_credentials_end_the_examination(
    kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_wrong")
    found = look(kernels)
    assert set(found) == {"package", "credentials"}
    assert "does not accept the token in KAGGLE_API_TOKEN" in found["credentials"].found
    assert "https://www.kaggle.com/settings/api" in found["credentials"].remedy


def test_rules_that_are_not_accepted_are_told(kaggle: KaggleServer, kernels: Kernels) -> None:
    kaggle.competitions["cars"].rules_accepted = False
    finding = look(kernels)["rules"]
    assert "403" in finding.found
    assert "https://www.kaggle.com/competitions/cars/rules" in finding.remedy


def test_clock_that_is_wrong_is_told(kaggle: KaggleServer, kernels: Kernels) -> None:
    kaggle.clock_ahead_secs = 4000
    finding = look(kernels)["clock"]
    assert "behind Kaggle's" in finding.found
    assert "set this machine's clock" in finding.remedy


def test_package_that_is_too_large_is_told(
    kaggle: KaggleServer, kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.kaggle_package.pack", lambda folder: bytes(1_000_000))
    assert look(kernels)["package"].remedy.startswith("remove what is not code")


@pytest.mark.parametrize("allowed", [True, False])
def test_internet_switch_of_a_pushed_kernel_is_read(
    kaggle: KaggleServer, kernels: Kernels, datasets: Datasets, tmp_path: Path, allowed: bool
) -> None:
    kaggle.machines.internet_allowed = allowed
    request = PushRequest(
        run_dir=tmp_path / "b5",
        name="train-b5",
        recipe="demo",
        accelerator="tpu",
        deadline="1h",
        competitions=("cars",),
    )
    push(request, kernels, datasets)
    assert bool(look(kernels, run_dir=tmp_path / "b5")["internet"].remedy) is not allowed
