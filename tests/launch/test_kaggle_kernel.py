"""The very script that a push carries, run as Kaggle runs it."""

import hashlib
import json
from pathlib import Path

import pytest

from launch.kaggle_contract import KernelSettings
from launch.kaggle_environment import JOB_START_VARIABLE, TrainingEnvironment
from launch.kaggle_input import SessionError
from launch.kaggle_package import make_script, requirements
from tests.launch.kaggle_machine import Machine, make_machine
from trainer.engine import stop

pytestmark = pytest.mark.usefixtures("packed_once")


def _script(accelerator: str = "tpu", **changes: object) -> str:
    fields = {
        "name": "train-b5",
        "session": 1,
        "start": 1,
        "accelerator": accelerator,
        "data": ("train-b5",),
        "recipe": "demo",
        "deadline": "8h30m",
        "trainer_flags": (),
        "build_flags": (),
        "requirements": requirements(accelerator),
        "state_sha256": None,
    }
    return make_script(KernelSettings(**{**fields, **changes}))


def attach_records(machine: Machine) -> None:
    """Mounts what looks like built records."""
    folder = machine.root / "input" / "cars-records"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"splits": {}, "classes": []}')


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _record(root: Path) -> dict:
    return json.loads((root / "working" / "session.json").read_text())


def test_session_that_sees_its_eight_cores_goes_on_to_the_data(
    tmp_path: Path, empty_python: Path
) -> None:
    machine = make_machine(tmp_path, empty_python, tpu_cores=8)
    attach_records(machine)
    done = machine.run(_script())
    assert "TensorFlow 2.19.1 sees 8 TPU devices" in done.stdout
    assert "records: " in done.stdout


def test_session_without_data_ends_before_it_installs_anything(
    tmp_path: Path, empty_python: Path
) -> None:
    machine = make_machine(tmp_path, empty_python, tpu_cores=8)
    done = machine.run(_script())
    assert "no records and no labelled photos recognised" in done.stdout
    assert done.returncode == 2
    assert not (machine.fakes / "pip.log").exists()


@pytest.mark.parametrize("cores", [0, 1, 4])
def test_session_that_sees_fewer_cores_stops_before_it_looks_at_data(
    tmp_path: Path, empty_python: Path, cores: int
) -> None:
    machine = make_machine(tmp_path, empty_python, tpu_cores=cores)
    attach_records(machine)
    done = machine.run(_script())
    assert done.returncode == 2
    assert f"sees {cores} TPU devices; 8 are needed" in done.stdout
    assert "records: " not in done.stdout
    assert _record(machine.root)["exit_code"] == 2


def test_tensorflow_that_aborts_is_told_and_stops_the_session(
    tmp_path: Path, empty_python: Path
) -> None:
    machine = make_machine(tmp_path, empty_python, tpu_cores=8, aborts=True)
    attach_records(machine)
    done = machine.run(_script())
    assert done.returncode == 2
    assert "TensorFlow could not look for the TPUs (exit code -6" in done.stdout


def test_tensorflow_that_is_missing_is_told_and_stops_the_session(
    tmp_path: Path, empty_python: Path
) -> None:
    machine = make_machine(tmp_path, empty_python)
    attach_records(machine)
    done = machine.run(_script())
    assert done.returncode == 2
    assert "No module named 'tensorflow'" in done.stdout


def test_the_pinned_tensorflow_goes_into_an_environment_of_its_own(
    tmp_path: Path, empty_python: Path
) -> None:
    machine = make_machine(tmp_path, empty_python, tpu_cores=0)
    attach_records(machine)
    machine.run(_script())
    python = machine.root / "temp/staged-trainer/environment/bin/python"
    assert f'"--python", "{python}"' in machine.pip_calls
    installed = (machine.root / "temp/staged-trainer/requirements.txt").read_text().split()
    assert {"tensorflow-tpu==2.19.1", "libtpu==0.0.10"} <= set(installed)


def test_image_without_a_tpu_keeps_its_own_tensorflow(tmp_path: Path, empty_python: Path) -> None:
    machine = make_machine(tmp_path, empty_python, tpu_cores=1)
    attach_records(machine)
    done = machine.run(_script("gpu"))
    assert "sees 1 GPU devices; 2 are needed" in done.stdout
    assert "--python" not in machine.pip_calls
    installed = (machine.root / "temp/staged-trainer/requirements.txt").read_text()
    assert "tensorflow" not in installed
    assert "simplejpeg" in installed


def test_session_without_internet_says_where_the_switch_is(
    tmp_path: Path, empty_python: Path
) -> None:
    machine = make_machine(tmp_path, empty_python, tpu_cores=8)
    attach_records(machine)
    (machine.fakes / "no-internet").touch()
    done = machine.run(_script())
    assert done.returncode == 2
    assert "verify the phone number" in done.stdout


def test_data_set_with_another_state_is_refused(tmp_path: Path, empty_python: Path) -> None:
    machine = make_machine(tmp_path, empty_python, tpu_cores=8)
    old = machine.root / "input" / "train-b5-state"
    old.mkdir(parents=True)
    (old / "state.json").write_text('{"session": 1, "files": {}}')
    done = machine.run(_script(session=3, state_sha256="0" * 64))
    assert done.returncode == 2
    assert "no attached data set holds the state of session 2" in done.stdout
    assert not (machine.fakes / "pip.log").exists()


def test_session_that_fails_with_weights_is_no_failure_of_the_script(
    tmp_path: Path, empty_python: Path
) -> None:
    """Kaggle may drop what a failed script leaves."""
    machine = make_machine(tmp_path, empty_python, tpu_cores=8)
    state = machine.root / "input" / "train-b5-state"
    state.mkdir(parents=True)
    (state / "0000-1.safetensors").write_bytes(b"1")
    files = {"0000-1.safetensors": {"path": "checkpoints/1.safetensors", "sha256": _sha256(b"1")}}
    text = json.dumps({"session": 1, "files": files})
    (state / "state.json").write_text(text)
    attach_records(machine)
    done = machine.run(_script(session=2, state_sha256=_sha256(text.encode())))
    assert "No module named" in done.stdout  # nothing is installed that could train
    assert (done.returncode, _record(machine.root)["exit_code"]) == (0, 1)
    assert (machine.root / "working/run/checkpoints/1.safetensors").read_bytes() == b"1"


@pytest.mark.slow
def test_real_tensorflow_is_asked_in_words_that_it_understands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    environment = TrainingEnvironment("gpu", tmp_path, started=0.0)
    with pytest.raises(SessionError, match=r"TensorFlow 2\.\d+\.\d+ sees 0 GPU devices; 2 are"):
        environment.prove()


def test_script_and_trainer_mean_the_same_start() -> None:
    assert JOB_START_VARIABLE == stop.JOB_START_VARIABLE
