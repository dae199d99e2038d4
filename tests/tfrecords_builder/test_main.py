"""The command as its users see it: lines and exit codes."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tfrecords_builder.photos import make_photo, write_photos
from tfrecords_builder.manifest import load_manifest


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tfrecords_builder", *flags],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_is_quick_and_imports_no_tensorflow() -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['tfrecords_builder', '--help']\n"
        "try:\n    runpy.run_module('tfrecords_builder', run_name='__main__')\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'tensorflow', 'tensorflow_datasets', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"--sample_submission" in done.stdout
    assert time.monotonic() - started < 5  # a second with much room for a busy machine


def test_a_build_says_what_it_did_and_the_next_that_nothing_was_to_do(
    photo_folder: Path, tmp_path: Path
) -> None:
    flags = ("--source=folder", f"--images={photo_folder}", f"--out={tmp_path / 'out'}")
    first, second = run(*flags), run(*flags)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "60 train, 12 val photos of 3 classes" in first.stdout
    assert "0 left out" in first.stdout
    assert "nothing to do" in second.stdout
    assert load_manifest(str(tmp_path / "out")).val_fraction == 0.15


def test_no_worker_imports_tensorflow(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('tensorflow was imported')")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tfrecords_builder", "--source=folder"),
            *(f"--images={photo_folder}", f"--out={tmp_path / 'out'}"),
        ],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.getcwd()}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_synthetic_photos_need_no_input(tmp_path: Path) -> None:
    done = run("--source=synthetic", "--num_images=40", f"--out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert "4 test" in done.stdout


def test_a_full_disk_is_one_clear_line(photo_folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tfrecords_builder", "--source=folder"),
            *(f"--images={photo_folder}", f"--out={tmp_path / 'out'}"),
        ],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "File too large" in line
    assert "goes on where it stopped" in line


@pytest.fixture
def heap(tmp_path: Path) -> Path:
    """Folders and tables with everything that can be wrong about them."""
    write_photos(tmp_path / "one_class", {"a": 3})
    write_photos(tmp_path / "lonely", {"a": 3, "b": 1})
    write_photos(tmp_path / "fine", {"a": 3, "b": 3})
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    (tmp_path / "flat").mkdir()
    for number in range(4):
        (tmp_path / "flat" / f"{number}.jpg").write_bytes(make_photo(number))
    ids = [f"{number}.jpg,{'ab'[number % 2]}" for number in range(5)]
    tables = {
        "columns": ["name,what", *ids[:4]],
        "without_photo": ["Id,Category", *ids],
        "without_row": ["Id,Category", *ids[:3]],
        "duplicate": ["Id,Category", *ids[:4], ids[0]],
        "hostile": ["Id,Category", *ids[:4], "../fine/a/0.jpg,a"],
    }
    for name, lines in tables.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--source=folder --images=missing", "does not exist"),
        ("--source=folder --images=empty", "holds no photo"),
        ("--source=folder --images=one_class", "one class only ('a')"),
        ("--source=folder --images=lonely", "class 'b' has 1 photo"),
        ("--source=folder --images=fine --out=full", "already holds something"),
        ("--source=folder", "--images"),
        ("--source=csv --images=flat --labels=columns.csv", "have no 'Id'"),
        ("--source=csv --images=flat --labels=without_photo.csv", "'4.jpg'"),
        ("--source=csv --images=flat --labels=without_row.csv", "photos without a row"),
        ("--source=csv --images=flat --labels=duplicate.csv", "duplicate ids: '0.jpg'"),
        ("--source=csv --images=flat --labels=hostile.csv", "line 6: id '../fine/a/0.jpg'"),
        ("--source=csv --images=flat --labels=nothing.csv", "does not exist"),
        ("--source=magic", "value should be one of"),
        ("--source=folder --images=fine --workers=0", "workers"),
        ("--source=folder --images=fine --fold=1", "without --num_folds"),
        ("--source=folder --images=fine --bad_boxes=clip", "without --crop_margin"),
        ("--source=folder --images=fine --beam_options=--x=1", "without --runner"),
        ("--source=folder --images=fine --num_folds=3 --val_fraction=0.2", "give one of them"),
        ("--source=folder --images=fine --group_column=video", "--source=folder does not use"),
        ("--source=csv --images=flat --labels=hostile.csv --devkit=x", "--devkit was given"),
        ("--source=folder --images=fine --crop_margin=0.1", "has no boxes to crop to"),
        ("--source=folder --images=fine --keep_splits=hostile.csv", "holds no earlier build"),
        ("--source=csv --images=flat --labels=flat", "'flat' cannot be read"),
        ("--source=folder --images=fine --colour=red", "colour"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing_behind(
    heap: Path, monkeypatch: pytest.MonkeyPatch, flags: str, words: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.chdir(heap)
    before = sorted(heap.rglob("*"))
    done = run("--out=out", *flags.split())
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert sorted(heap.rglob("*")) == before


def test_help_ends_quietly_when_its_reader_has_gone() -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "tfrecords_builder", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.close()
    message = command.stderr.read()
    assert (command.wait(), message) == (141, b"")
    command.stderr.close()
