"""Packing the project into one file, without any network."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import launch.kaggle_package
from launch.kaggle_contract import KernelSettings
from launch.kaggle_package import (
    MAX_SCRIPT_BYTES,
    PACKAGES,
    PackageError,
    launch_id,
    make_script,
    pack,
    requirements,
)

REPOSITORY = Path(__file__).resolve().parents[2]


def _settings(**changes: object) -> KernelSettings:
    fields = {
        "name": "train-b5",
        "session": 1,
        "start": 1,
        "accelerator": "tpu",
        "data": ("train-b5",),
        "recipe": "demo",
        "deadline": "8h30m",
        "trainer_flags": ("--set=head_dropout=0.1", "--weights='\"\\'"),
        "build_flags": (),
        "requirements": (),
        "state_sha256": None,
    }
    return KernelSettings(**{**fields, **changes})


pytestmark = pytest.mark.usefixtures("packed_once")


@pytest.fixture(scope="module")
def packed(packed_once: None) -> bytes:
    return launch.kaggle_package.pack(REPOSITORY)


def test_all_that_the_packages_hold_is_carried(packed: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        names = set(archive.getnames())
    present = {
        path.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names == present


def test_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for name in sorted(("trainer/x.py", "launch/y.py"), reverse=folder == "b"):
            (tmp_path / folder / name).parent.mkdir(parents=True)
            (tmp_path / folder / name).write_text(name)
            os.utime(tmp_path / folder / name, (ord(folder), ord(folder)))
    assert pack(tmp_path / "a") == pack(tmp_path / "b")


def test_script_fits_into_a_push_with_room_to_spare() -> None:
    assert len(make_script(_settings()).encode()) < MAX_SCRIPT_BYTES / 2


def test_script_is_python_whatever_the_flags_hold() -> None:
    compile(make_script(_settings()), "session.py", "exec")


@pytest.mark.parametrize("change", [{"start": 2}, {"session": 2}, {"recipe": "cars_small"}])
def test_another_session_has_another_id(change: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "launch").mkdir()
    first = make_script(_settings(), tmp_path)
    assert launch_id(first) != launch_id(make_script(_settings(**change), tmp_path))
    assert launch_id(first) == launch_id(make_script(_settings(), tmp_path))


def test_a_script_of_somebody_else_has_no_id() -> None:
    assert launch_id("print('hello')") is None


def test_package_that_is_too_large_is_told_before_the_push(tmp_path: Path) -> None:
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch" / "noise").write_bytes(os.urandom(900_000))
    with pytest.raises(PackageError, match=r"takes 12\d\d kB; a push carries one file of at most"):
        make_script(_settings(), tmp_path)


def test_a_tpu_gets_every_pin_of_its_lock() -> None:
    lines = (REPOSITORY / "requirements" / "tpu.lock").read_text().split("\n")
    assert set(requirements("tpu")) == {line for line in lines if line}


def test_other_machines_get_no_tensorflow() -> None:
    names = " ".join(requirements("gpu"))
    assert "tensorflow" not in names
    assert "keras" in names


@pytest.mark.parametrize(
    "verb", ["", "doctor", "push", "status", "logs", "fetch", "chain", "download"]
)
def test_help_loads_no_heavy_library(verb: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['launch.kaggle', *{[verb] if verb else []}, '--help']\n"
        "try:\n"
        "    runpy.run_module('launch.kaggle', run_name='__main__')\n"
        "finally:\n"
        "    heavy = {'tensorflow', 'keras', 'kaggle', 'kagglesdk', 'requests'}\n"
        "    assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert "AssertionError" not in done.stderr, done.stderr
    assert "--" in done.stdout
