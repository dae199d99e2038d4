"""Restarts, signals and merged output, with small scripts in place of trainers."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.processes import free_ports, worker_environments
from launch.supervisor import Supervisor, SupervisorSettings, outcome, restarts

REPOSITORY = Path(__file__).resolve().parents[2]
PRELUDE = """
import json, os, pathlib, signal, sys, time
task = json.loads(os.environ.get("TF_CONFIG", '{"task": {"index": 0}}'))["task"]["index"]
folder = pathlib.Path(sys.argv[1])
starts = folder / f"starts-{task}"
starts.write_text(starts.read_text() + "x" if starts.exists() else "x")
num_starts = len(starts.read_text())
"""
SAVES_ON_SIGTERM = """
signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), os._exit(75)))
print("ready", flush=True)
time.sleep(60)
"""


def command(script: str, folder: Path) -> list[str]:
    return [sys.executable, "-c", PRELUDE + script, str(folder)]


def run(script: str, folder: Path, **settings: object) -> int:
    return Supervisor(command(script, folder), SupervisorSettings(**settings)).run()


def num_starts(folder: Path) -> list[int]:
    return [len(path.read_text()) for path in sorted(folder.glob("starts-*"))]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((0, 0), 0),
        ((0, 75), 75),
        ((75, 75), 75),
        ((75, -9), 137),
        ((-9, 2), 2),
        ((1, 75), 1),
        ((74, -9), 137),
        ((74, 75), 74),
        ((3, 75), 3),
        ((0, -15), 143),
        ((130, -9), 130),
        ((141, 74), 141),
    ],
)
def test_one_exit_code_stands_for_all_workers(codes: Sequence[int], expected: int) -> None:
    assert outcome(codes) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, False),
        (2, False),
        (3, False),
        (130, False),
        (141, False),
        (1, True),
        (74, True),
        (137, True),
    ],
)
def test_only_crashes_are_started_again(code: int, expected: bool) -> None:
    assert restarts(code, restarts_stopped=False) == expected
    assert restarts(code, restarts_stopped=True) == expected


def test_a_trainer_that_stopped_on_purpose_is_started_again_only_if_asked() -> None:
    assert not restarts(75, restarts_stopped=False)
    assert restarts(75, restarts_stopped=True)


@given(st.integers(1, 20))
def test_ports_are_free_and_different(num: int) -> None:
    ports = free_ports(num)
    assert len(set(ports)) == num


def test_a_port_in_use_is_not_chosen() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        assert taken.getsockname()[1] not in [free_ports(1)[0] for _ in range(200)]


def test_workers_share_cores_and_gpus() -> None:
    first, second = worker_environments(2, [1001, 1002], num_cores=6, gpus_per_worker=2)
    assert first["TF_CONFIG"] == (
        '{"cluster": {"worker": ["localhost:1001", "localhost:1002"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    assert first["TF_NUM_INTRAOP_THREADS"] == "3"
    assert [each["CUDA_VISIBLE_DEVICES"] for each in (first, second)] == ["0,1", "2,3"]


def test_a_single_worker_is_told_nothing_of_a_cluster() -> None:
    (environment,) = worker_environments(1, [1001], num_cores=6)
    assert not {"TF_CONFIG", "TF_NUM_INTRAOP_THREADS", "CUDA_VISIBLE_DEVICES"} & set(environment)


def test_a_killed_worker_makes_all_start_again(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    script = """
if num_starts == 1 and task == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if num_starts == 1:
    time.sleep(60)  # hangs in a collective
print("done")
"""
    started = time.monotonic()
    assert run(script, tmp_path, num_workers=2) == 0
    assert time.monotonic() - started < 20
    assert num_starts(tmp_path) == [2, 2]
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == ["[worker 0] done", "[worker 1] done"]
    assert "worker 1 was killed by SIGKILL; starting again" in err
    assert "(restart 1 of 5)" in err


def test_restarts_are_counted(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    assert run("sys.exit(1)", tmp_path, max_restarts=2) == 1
    assert num_starts(tmp_path) == [3]
    assert "given up after 2 restarts (--max_restarts)" in capfd.readouterr().err


@pytest.mark.parametrize("code", [2, 3])
def test_what_cannot_be_healed_is_shown_once_and_not_tried_again(
    code: int, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    script = f"print('error: wrong flag', file=sys.stderr); sys.exit({code})"
    assert run(script, tmp_path, num_workers=3) == code
    assert capfd.readouterr() == ("", "error: wrong flag\n")
    assert num_starts(tmp_path) == [1, 1, 1]


def test_a_stopped_trainer_goes_on_if_asked(tmp_path: Path) -> None:
    script = "sys.exit(75 if num_starts < 3 else 0)"
    assert run(script, tmp_path, restarts_stopped=True) == 0
    assert num_starts(tmp_path) == [3]


def test_the_deadline_counts_from_the_first_start(tmp_path: Path) -> None:
    script = """
with (folder / "job").open("a") as file:
    file.write(os.environ["TRAINER_JOB_START"] + "\\n")
sys.exit(1 if num_starts == 1 else 0)
"""
    assert run(script, tmp_path) == 0
    first, second = (tmp_path / "job").read_text().split()
    assert first == second


def test_lines_are_passed_on_whole_even_without_an_end(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    script = """
os.write(1, b"one\\ntw")
time.sleep(0.3)
os.write(1, b"o\\nunfinished \\xff")
"""
    assert run(script, tmp_path, num_workers=2) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("[worker 1]")] == [
        "[worker 1] one",
        "[worker 1] two",
        "[worker 1] unfinished \ufffd",
    ]


def supervised(script: str, folder: Path, **settings: object) -> subprocess.Popen[str]:
    """A supervisor in a process of its own, to send signals to; returns once all are ready."""
    code = (
        "import sys\n"
        "from launch.supervisor import Supervisor, SupervisorSettings\n"
        f"settings = SupervisorSettings(**{settings!r})\n"
        f"sys.exit(Supervisor({command(script, folder)!r}, settings).run())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(int(settings.get("num_workers", 1))):
        assert "ready" in process.stdout.readline()
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_stop_lets_the_workers_save(
    number: int, code: int, num_workers: int, tmp_path: Path
) -> None:
    process = supervised(SAVES_ON_SIGTERM, tmp_path, num_workers=num_workers)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert out.count("saved") == num_workers
    assert "the workers save and end" in err
    assert num_starts(tmp_path) == [1] * num_workers


def test_workers_save_when_nobody_reads_the_output_any_more(tmp_path: Path) -> None:
    script = """
def save(*_):
    (folder / f"saved-{task}").touch()
    os._exit(75)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
for _ in range(1200):
    time.sleep(0.05)
    print("a line", flush=True)
"""
    process = supervised(script, tmp_path, num_workers=2)
    assert process.stdout is not None
    process.stdout.close()  # as `| head` does
    process.wait(timeout=20)
    assert sorted(path.name for path in tmp_path.glob("saved-*")) == ["saved-0", "saved-1"]
    assert num_starts(tmp_path) == [1, 1]
    process.communicate()


def test_workers_that_do_not_end_are_killed(tmp_path: Path) -> None:
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)\n"
    process = supervised(stubborn + "time.sleep(60)", tmp_path, num_workers=2, stop_secs=0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 75


def test_a_second_ctrl_c_kills(tmp_path: Path) -> None:
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)\n"
    process = supervised(stubborn + "time.sleep(60)", tmp_path, num_workers=2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


@pytest.mark.skipif(sys.platform != "linux", reason="a parent's death is told on Linux only")
def test_a_killed_supervisor_leaves_no_orphans(tmp_path: Path) -> None:
    script = "print(f'ready {os.getpid()}', flush=True)\ntime.sleep(60)"
    code = (
        "import sys\n"
        "from launch.supervisor import Supervisor, SupervisorSettings\n"
        f"sys.exit(Supervisor({command(script, tmp_path)!r}, SupervisorSettings()).run())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline().split()[1])
        process.kill()
        assert process.stdout.read() == ""  # ends when the worker has closed its end
    deadline = time.monotonic() + 10
    while _exists(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _exists(pid)


def _exists(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not fetched by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
