"""The first guide, as a new user follows it: each of its commands is run, on fewer cars."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FEWER = {"--num_images=3000": "--num_images=120"}
ALSO = {"trainer.task": ["--set", "stages.*.epochs=1"], "trainer.serve": ["--port=0"]}


def guide_commands() -> list[list[str]]:
    """The words of each `python -m` line of the guide, continued lines joined."""
    text = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^    python -m (.+)$", text, re.MULTILINE)
    return [[FEWER.get(word, word) for word in shlex.split(line)] for line in found]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": ""}


def serves(command: list[str], folder: Path) -> bytes:
    """Starts the service, asks for its page, stops it in order."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        deadline = time.monotonic() + 60
        address = None
        while address is None and time.monotonic() < deadline:
            address = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
        try:
            assert address, "the service named no address"
            with urllib.request.urlopen(address[0], timeout=10) as answer:
                return answer.read()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


@pytest.mark.slow
def test_the_first_guide_works_from_the_first_command_to_the_last(tmp_path):
    commands = guide_commands()
    assert len(commands) >= 7
    for words in commands:
        command = [sys.executable, "-m", *words, *ALSO.get(words[0], [])]
        if words[0] == "trainer.serve":
            assert b"<html" in serves(command, tmp_path).lower()
            continue
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{words}:\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    assert (tmp_path / "demo" / "submission.csv").is_file()
    assert (tmp_path / "demo" / "run" / "report.html").is_file()
