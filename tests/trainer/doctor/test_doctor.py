"""The doctor: names what is wrong, with a remedy, and never breaks itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.doctor import machine, software
from trainer.doctor.finding import FAILURE, OK, SKIPPED, WARNING, examine

REPOSITORY = Path(__file__).resolve().parents[3]


def doctor(*arguments: str, **environment: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "trainer.doctor", *arguments]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | environment,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("versions", "status"),
    [
        ({"tensorflow-cpu": "2.21.0"}, OK),
        ({}, FAILURE),
        ({"tensorflow": "2.21.0", "tensorflow-cpu": "2.21.0"}, FAILURE),
        ({"tensorflow-tpu": "2.19.1", "tensorflow": "2.19.1"}, FAILURE),
    ],
)
def test_exactly_one_build_of_tensorflow_is_wanted(versions, status) -> None:
    finding = software.check_builds(versions)
    assert finding.status == status
    assert bool(finding.remedy) == (status == FAILURE)


@pytest.mark.parametrize(
    ("libtpu", "status"), [("0.0.10", OK), ("0.0.33", FAILURE), (None, FAILURE)]
)
def test_other_tpu_libraries_are_refused(libtpu, status) -> None:
    versions = {"tensorflow-tpu": "2.19.1"} | ({"libtpu": libtpu} if libtpu else {})
    assert software.check_libtpu(versions).status == status


def test_import_that_aborts_the_process_is_a_finding(tmp_path: Path) -> None:
    package = tmp_path / "tensorflow"
    package.mkdir()
    (package / "__init__.py").write_text("import os; os.abort()")
    code, output = doctor(PYTHONPATH=str(tmp_path))
    assert code == 2
    assert "FAIL  import        the import ended by signal 6" in output


def test_versions_that_differ_are_named() -> None:
    lock = software.parse_lock(
        [
            "keras==3.15.1",
            "numpy==2.4.6 ; python_full_version < '3.12'",
            "numpy==2.5.5 ; python_full_version >= '3.12'",
        ],
        (3, 11),
    )
    assert lock == {"keras": "3.15.1", "numpy": "2.4.6"}
    same = software.check_versions({"keras": "3.15.1", "numpy": "2.4.6"}, lock, "lock")
    other = software.check_versions({"keras": "3.12.0", "numpy": "2.4.6"}, lock, "lock")
    assert same.status == OK
    assert other.status == WARNING
    assert "keras 3.12.0 (there 3.15.1)" in other.found


def test_another_build_of_tensorflow_is_compared_by_its_version() -> None:
    wanted = {"tensorflow-cpu": "2.21.0"}
    older = software.check_versions({"tensorflow": "2.19.1"}, wanted, "run.json")
    assert older.status == WARNING
    assert "tensorflow 2.19.1 (there tensorflow-cpu 2.21.0)" in older.found
    assert software.check_versions({"tensorflow": "2.21.0"}, wanted, "run.json").status == OK


@pytest.mark.parametrize("environment", [{"KERAS_BACKEND": "torch"}, {"TF_USE_LEGACY_KERAS": "1"}])
def test_variables_that_replace_keras_are_failures(environment) -> None:
    assert software.check_settings(environment, {}).status == FAILURE


def test_no_secret_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / ".kaggle"
    folder.mkdir()
    (folder / "kaggle.json").write_text('{"username": "somebody", "key": "c0ffee"}')
    (folder / "kaggle.json").chmod(0o600)
    cloud = tmp_path / "account.json"
    cloud.write_text('{"type": "service_account", "private_key": "s3cret"}')
    _, output = doctor(HOME=str(tmp_path), GOOGLE_APPLICATION_CREDENTIALS=str(cloud))
    assert "OK    Kaggle" in output
    assert "OK    Google Cloud" in output
    assert not any(secret in output for secret in ("c0ffee", "s3cret", "somebody"))


def test_kaggle_file_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / ".kaggle"
    folder.mkdir()
    path = folder / "kaggle.json"
    path.write_text('{"username": "a", "key": "b"}')
    path.chmod(0o644)
    assert machine.check_kaggle({}, tmp_path).status == WARNING
    path.write_text("{")
    assert machine.check_kaggle({}, tmp_path).status == FAILURE
    path.unlink()
    assert machine.check_kaggle({}, tmp_path).status == SKIPPED


def test_memory_that_a_container_may_not_take_is_not_free(monkeypatch) -> None:
    monkeypatch.setattr("trainer.input.room.free_memory", lambda: 3 * machine.GIB)
    finding = machine.check_memory()
    assert finding.status == WARNING
    assert finding.found.startswith("3.0 of ")


def test_clock_before_the_installation_is_wrong() -> None:
    assert machine.check_clock(1e9, 1.7e9, None).status == FAILURE
    assert machine.check_clock(1.7e9, 1.7e9, None).status == OK
    assert machine.check_clock(1.7e9, 1.7e9, False).status == WARNING


def test_full_disks_are_failures(tmp_path: Path, monkeypatch) -> None:
    folder = str(tmp_path / "to" / "come")
    for free, status in ((10 * machine.GIB, OK), (machine.GIB, WARNING), (1000, FAILURE)):
        usage = type("usage", (), {"free": free})
        monkeypatch.setattr(shutil, "disk_usage", lambda place, usage=usage: usage)
        finding = machine.check_disk(folder, "--run_dir")
        assert finding.status == status
        assert ("--run_dir" in finding.remedy) == (status != OK)


def test_photos_that_fit_nowhere_are_a_warning_and_those_that_fit_memory_none(monkeypatch) -> None:
    monkeypatch.setattr("trainer.input.room.free_memory", lambda: 20 * machine.GIB)
    monkeypatch.setattr("trainer.input.room.free_disk", lambda: 10 * machine.GIB)
    monkeypatch.setattr("trainer.input.room.is_in_memory", lambda: False)
    fine = machine.check_temporary(0)
    assert machine.check_temporary(9 * machine.GIB) == fine
    finding = machine.check_temporary(11 * machine.GIB)
    assert finding.status == WARNING
    assert "11.0 GiB of decoded photos" in finding.found


def test_the_doctor_counts_canvases_as_the_input_does() -> None:
    from trainer.input.canvases import canvas_bytes, canvas_px_of

    for image_px in (1, 7, 24, 224, 288, 299, 300, 456, 457):
        stages = [{"image_px": 1}, {"image_px": image_px}]
        record = {
            "settings": {"recipe": {"stages": stages}},
            "data": {"splits": {"train": 3, "val": 2, "test": 9}},
        }
        assert machine.canvas_bytes(record) == canvas_bytes(5, canvas_px_of(image_px))


def test_missing_record_file_is_found(cars: Path, tmp_path: Path) -> None:
    assert machine.check_data(str(cars)).status == OK
    copy = tmp_path / "data"
    shutil.copytree(cars, copy)
    shard = next(copy.glob("*.tfrecord-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    finding = machine.check_data(str(copy))
    assert finding.status == FAILURE
    assert shard.name in finding.found


def test_check_that_breaks_is_a_finding() -> None:
    def broken():
        raise OSError("no such device")

    finding = examine(broken)
    assert finding.status == WARNING
    assert "no such device" in finding.found


def test_damaged_run_folder_does_not_stop_it(cars: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    code, output = doctor(f"--data={cars}", f"--run_dir={tmp_path}")
    assert code == 0
    assert "warn  run " in output
    assert output.splitlines()[-1].startswith("0 failures")
