"""A build that is killed goes on where it stopped, and ends with the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.tfrecords_builder.data_folder import files_of
from tests.tfrecords_builder.photos import make_photo

# Every kill costs the start of a process: six for every day, more on demand.
NUM_KILLS = int(os.environ.get("BUILDER_KILLS", "6"))
COMMAND = (sys.executable, "-m", "tfrecords_builder", "--source=folder", "--workers=2")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos to be shrunk: enough for several shards."""
    data = [make_photo(seed, 480, 360) for seed in range(8)]
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(40):
            path = tmp_path / "photos" / name / f"{number}.jpg"
            path.write_bytes(data[number % len(data)])
    return tmp_path / "photos"


def start(photos: Path, out: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, f"--images={photos}", "--max_px=300", f"--out={out}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> None:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def wait_for_shards(out: Path, count: int) -> None:
    while len(list(out.glob(".build/dataset*.json"))) < count:
        time.sleep(0.005)


@pytest.mark.slow
def test_kills_at_random_moments_leave_no_trace(photos: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    whole = tmp_path / "whole"
    began = time.monotonic()
    finish(start(photos, whole))
    duration = time.monotonic() - began
    out, num_kills, round_number = tmp_path / "killed", 0, 0
    while num_kills < NUM_KILLS:
        process = start(photos, out)
        time.sleep(rng.uniform(0.1, 1.0) * duration)
        if process.poll() is None:
            process.kill()
            num_kills += 1
        process.communicate()
        if (out / "manifest.json").exists():  # Finished: begin again from nothing.
            assert files_of(out) == files_of(whole)
            round_number += 1
            out = tmp_path / f"killed{round_number}"
    finish(start(photos, out))
    assert files_of(out) == files_of(whole)


def test_a_killed_build_keeps_its_finished_shards(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(photos, out)
    wait_for_shards(out, 2)
    process.kill()
    process.communicate()
    assert not (out / "manifest.json").exists()
    kept = {
        path.name.removesuffix(".json"): (out / path.name.removesuffix(".json")).stat().st_mtime_ns
        for path in out.glob(".build/dataset*.json")
    }
    finish(start(photos, out))
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept


def test_workers_die_with_the_main_process(photos: Path, tmp_path: Path) -> None:
    process = start(photos, tmp_path / "out")
    wait_for_shards(tmp_path / "out", 1)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


@pytest.mark.parametrize(
    ("signal_number", "exit_code", "words"),
    [(signal.SIGTERM, 75, "start the same command again"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_stopped_build_says_so_in_one_line(
    photos: Path, tmp_path: Path, signal_number: int, exit_code: int, words: str
) -> None:
    process = start(photos, tmp_path / "out")
    wait_for_shards(tmp_path / "out", 1)
    os.kill(process.pid, signal_number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == exit_code, errors
    assert len(errors.strip().splitlines()) == 1
    assert words in errors
    assert not (tmp_path / "out" / "manifest.json").exists()
