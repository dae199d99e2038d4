"""Every command of the guides is run, or stands below with the reason why it is not.

Each guide is followed from its first command to its last, in a folder of its own, on rendered cars
and with a tiny network. The run of the first guide is what the others start from; a command of the
trainer that was run before on the same things is not run again.
"""

import contextlib
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.guide_workspaces import World, kaggle_of, reader_environment, vertex_of
from tests.guides import GUIDES, Command, guide_commands, guide_name

FIRST = "docs/index.md"
COMMANDS = {guide_name(path): guide_commands(path) for path in GUIDES}

NOT_RUN = {
    "docker *": "needs a container engine",
    "gcloud *": "needs an account at Google",
    "git clone *": "needs the project's address",
    "make *": "for a checkout, each makes an environment; .ci/run runs them",
    "pip install *": "needs a package index; docs/trial.md tells of one installation by hand",
    "python3 -m venv *": "as pip install",
    "python benchmarks/*": "a measurement that takes minutes",
    "python -m benchmarks.*": "a measurement that takes minutes",
    "*--runner=DataflowRunner*": "needs Google Dataflow; test_beam_runner.py runs Beam",
    "*--strategy=gpu*": "needs a GPU",
    "*--strategy=tpu*": "needs a TPU",
    "*--aot_python=*": "needs the environment of the TPU compiler; tests/trainer/lowering runs it",
    "python -m launch.local --num_workers=2 *": "tests/launch/test_two_processes.py runs it",
    "*--auto_submit*": "hands in what that guide has handed in; tests/trainer/test_auto_submit.py",
    "python -m trainer.weights convert *": "needs weights of an EfficientNet; "
    "tests/trainer/weights/test_command.py converts them",
    "python -m trainer.replay CAPSULE": "needs an exploded run; tests/trainer/test_task.py runs it",
    "README.md: *--recipe=cars_small*": "docs/own_photos.md trains it",
    "docs/competition.md: python -m tfrecords_builder *": "README.md builds records of such files",
    "docs/competition.md: python -m trainer.task *": "docs/weights.md trains both recipes",
    "*--format=litert,onnx,saved_model,keras *": "tests/trainer/exporting writes and proves each",
    "docs/export.md: * --set backbone=EfficientNetB0 *": "a measurement that takes 38 minutes",
    "docs/evaluation.md: * --strategy=cpu --tta=measure": "docs/competition.md measures views",
    "docs/evaluation.md: * --split=val --out=*": "the command above it, on another split",
    **dict.fromkeys(
        (
            "*: python -m launch.local",
            "*: python -m tfrecords_builder",
            "*: python -m trainer.task",
        ),
        "the name of a command, in running text",
    ),
}
"""Commands that are not run, as shell patterns of the command or of `guide: command`, and why."""

CHANGED = {
    "--num_images=3000": "--num_images=120",
    "--port=8080": "--port=0",
    "--recipe=NAME": "--recipe=demo",
    "--weights=imagenet": "--weights=none",
}
"""Words that are exchanged: fewer cars, a free port, one of the recipes, no download."""

SMALL = ("stages.*.epochs=1", "stages.*.image_px=32", "stages.*.batch_size=16")
SETTINGS = {
    "demo": SMALL,
    "cars_small": (*SMALL, "backbone=Tiny"),
    "ford_vs_ferrari": (
        *SMALL,
        "backbone=Tiny",
        "stages.upper_half.train_from=all",
        "stages.finish.train_from=all",
    ),
    "stanford_cars": (*SMALL, "backbone=Tiny", "stages.upper_half.train_from=all"),
}
"""What is set in a recipe so that it trains within seconds; all of its stages are trained."""

SERVERS = {"trainer.serve": b"<html", "tensorboard.main": b"<html"}
"""Commands that run until they are stopped, and what stands on their first page."""


def reason_not_run(command: Command) -> str | None:
    for pattern, reason in NOT_RUN.items():
        if fnmatchcase(command.text, pattern) or fnmatchcase(str(command), pattern):
            return reason
    return None


class Reader:
    """Follows guides, one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.world = World(root / "world")
        self._seen: set[tuple[str, ...]] = set()

    def follow(self, guide: str) -> Path:
        """Runs the guide's commands; returns the folder in which it was followed."""
        folder = self.root / guide.replace("/", "-")
        folder.mkdir()
        commands = [each for each in COMMANDS[guide] if reason_not_run(each) is None]
        makers = [each.text for each in commands if "trainer." not in each.text]
        made = {name for text in makers for name in re.findall(r"--out=(\S+)", text)}
        self.world.lay_out(guide, folder, made)
        with contextlib.ExitStack() as services:
            variables = reader_environment(folder)
            if any("--competition=" in each.text for each in commands):
                variables |= services.enter_context(kaggle_of(self.world, folder))
            if any("launch.vertex" in each.text for each in commands):
                variables |= services.enter_context(vertex_of(folder))
            for command in commands:
                self._run(command, folder, variables)
        return folder

    def _run(self, command: Command, folder: Path, variables: dict[str, str]) -> None:
        words = [CHANGED.get(word, word) for word in shlex.split(command.text)]
        if words[0] == "curl":
            return  # with the service it asks
        seen = self.world.names_replaced(command.guide, words)
        costs_seconds = any(word.startswith("trainer.") for word in words[:3])
        if costs_seconds and seen in self._seen:
            return
        self._seen.add(seen)
        words = _on_this_python(words)
        words += _appended(words)
        if name := next((name for name in SERVERS if name in words), None):
            questions = [each for each in COMMANDS[command.guide] if each.text.startswith("curl")]
            page = _ask(words, [each.text for each in questions], folder, variables)
            assert SERVERS[name] in page.lower(), command
            return
        done = subprocess.run(
            words, cwd=folder, env=variables, capture_output=True, text=True, timeout=300
        )
        said = f"{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
        assert done.returncode == 0, f"{command}\nas {shlex.join(words)}:\n{said}"


def _on_this_python(words: list[str]) -> list[str]:
    if words[0] == "tensorboard":
        return [sys.executable, "-m", "tensorboard.main", *words[1:]]
    return [sys.executable, *words[1:]]


def _appended(words: list[str]) -> list[str]:
    """Flags that make the command small."""
    if words[2] in ("trainer.serve", "tensorboard.main"):
        return ["--port=0"]
    if words[2] not in ("trainer.input_doctor", "trainer.task"):
        return []
    recipe = next(word for word in words if word.startswith("--recipe=")).partition("=")[2]
    flags = [f"--set={setting}" for setting in SETTINGS[recipe]]
    if words[2] == "trainer.input_doctor":
        return [*flags, "--seconds=0.05"]
    given = any(word.startswith("--weights=") for word in words)
    return flags if given else [*flags, "--weights=none"]


def _ask(words: list[str], questions: list[str], folder: Path, variables: dict[str, str]) -> bytes:
    """Starts the service, asks for its page and what the guide asks with curl, and stops it."""
    with subprocess.Popen(
        words,
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            address = _address(process)
            for question in questions:
                asked = shlex.split(question.replace("http://127.0.0.1:8080", address))
                done = subprocess.run(
                    [asked[0], "--fail", "--silent", "--show-error", *asked[1:]],
                    cwd=folder,
                    capture_output=True,
                    text=True,
                    timeout=60,
                )
                assert done.returncode == 0, f"{question}\n{done.stderr}"
                assert '"probability"' in done.stdout, f"{question}\n{done.stdout}"
            with urllib.request.urlopen(address, timeout=30) as answer:
                return answer.read()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def _address(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    said = ""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (line := process.stdout.readline()):
        said += line
        if found := re.search(r"http://(?:[\d.]+|localhost):\d+", line):
            return found[0]
    raise AssertionError(f"no address was named: {said}")


@pytest.fixture(scope="module")
def first_guide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Reader, Path]]:
    reader = Reader(tmp_path_factory.mktemp("guides"))
    folder = reader.follow(FIRST)
    reader.world.furnish(folder)
    return reader, folder


@pytest.mark.slow
def test_the_first_guide_ends_with_a_report_and_a_submission(first_guide):
    _, folder = first_guide
    assert (folder / "demo" / "run" / "report.html").is_file()
    assert (folder / "demo" / "submission.csv").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("guide", sorted(COMMANDS.keys() - {FIRST}))
def test_a_guide_works_from_its_first_command_to_its_last(first_guide, guide):
    reader, _ = first_guide
    reader.follow(guide)


@pytest.mark.parametrize("pattern", NOT_RUN)
def test_what_is_not_run_still_stands_in_a_guide(pattern):
    commands = [command for guide in COMMANDS.values() for command in guide]
    assert any(
        fnmatchcase(command.text, pattern) or fnmatchcase(str(command), pattern)
        for command in commands
    )


def test_only_what_can_be_started_here_is_run():
    commands = [command for guide in COMMANDS.values() for command in guide]
    run = [command for command in commands if reason_not_run(command) is None]
    other = [str(each) for each in run if not re.match(r"python -m |tensorboard |curl ", each.text)]
    assert not other, "neither run nor listed in NOT_RUN"
    assert len(run) > 60
