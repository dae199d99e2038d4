"""What runs on Kaggle: one session of a run, from an empty machine to outputs that can be fetched.

It starts on the image's Python with the standard library only. The order saves quota: install,
prove the accelerator in a process of its own, and only then look at data.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.kaggle_archive import find_layout
from tfrecords_builder.errors import UserError

EXIT_UNFINISHED = 75
"""Of trainer.task: stopped on purpose, to be gone on with."""
RUN_FOLDER = "run"
SESSION_FILE = "session.json"
STATE_FILE = "state.json"
INPUT_PLACEHOLDER = "{input}"
PROOF_TIMEOUT_SECS = 300
JOB_START_VARIABLE = "TRAINER_JOB_START"
"""trainer.engine.stop reads it: a deadline counts from the start of the session."""

_NUM_DEVICES = {"tpu": 8, "gpu": 2, "cpu": 1}
_KIND = {"tpu": "TPU", "gpu": "GPU", "cpu": "CPU"}
_STRATEGIES = {"tpu": "tpu", "gpu": "mirrored", "cpu": "cpu"}

_PROOF = """
import json, sys
import tensorflow as tf
kind = sys.argv[1]
if kind == "TPU":
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
    tf.tpu.experimental.initialize_tpu_system(resolver)
devices = len(tf.config.list_logical_devices(kind))
print("proof " + json.dumps({"tensorflow": tf.__version__, "devices": devices}))
"""


class SessionError(UserError):
    """What makes a session end before it trains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelSettings:
    """What a script carries beside the packages; nothing in it is secret."""

    name: str
    session: int
    """Number of the session in its run, from 1."""
    start: int
    """How often this session was pushed, from 1."""
    accelerator: str
    """tpu, gpu or cpu."""
    recipe: str
    deadline: str
    """Of trainer.task, counted from the start of the script."""
    trainer_flags: tuple[str, ...]
    build_flags: tuple[str, ...]
    """Of tfrecords_builder, for raw photos; empty to recognise them. {input} is where data are."""
    requirements: tuple[str, ...]
    state_sha256: str | None
    """Of the state.json that this session must find; None for the first session of a run."""


def run(root: str, settings: Mapping[str, Any], started: float) -> int:
    """Runs the session and writes `session.json`; returns the exit code of the script.

    A run that stopped at its deadline is a success here: Kaggle may drop the outputs of a failure.
    """
    session = Session(Path(root), KernelSettings(**settings), started)
    try:
        exit_code, reason = session.train(), ""
    except SessionError as error:
        exit_code, reason = error.exit_code, str(error)
        _say(f"error: {reason}")
    session.write_record(exit_code, reason)
    return 0 if exit_code == EXIT_UNFINISHED else exit_code


class Session:
    """One session: the folders of the machine and what is done in them, in order."""

    def __init__(self, root: Path, settings: KernelSettings, started: float) -> None:
        self.settings = settings
        self._started = started
        self._input, self._working = root / "input", root / "working"
        self._temp = root / "temp" / "staged-trainer"
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                filter(None, (str(self._temp / "code"), os.environ.get("PYTHONPATH")))
            ),
            "PYTHONUNBUFFERED": "1",
            JOB_START_VARIABLE: repr(started),
        }

    @property
    def run_dir(self) -> Path:
        """Where the trainer's run folder is."""
        return self._working / RUN_FOLDER

    def train(self) -> int:
        """Everything from the installation to the trainer's exit code.

        Raises:
          SessionError: No accelerator, no data, or not the state to go on from.
        """
        settings = self.settings
        _say(f"session {settings.session} of {settings.name} on {_KIND[settings.accelerator]}")
        python = self._install()
        self._prove(python)
        self._take_over_state()
        data = self._find_records() or self._build_records(python)
        return self._call(
            python,
            "-m",
            "trainer.task",
            f"--data={data}",
            f"--run_dir={self.run_dir}",
            f"--recipe={settings.recipe}",
            f"--strategy={_STRATEGIES[settings.accelerator]}",
            f"--deadline={settings.deadline}",
            *settings.trainer_flags,
        )

    def write_record(self, exit_code: int, reason: str) -> None:
        """Says how the session ended and what it leaves, with checksums."""
        self._working.mkdir(parents=True, exist_ok=True)
        files = sorted(path for path in self.run_dir.rglob("*") if path.is_file())
        record = {
            "name": self.settings.name,
            "session": self.settings.session,
            "start": self.settings.start,
            "exit_code": exit_code,
            "reason": reason,
            "seconds": round(time.time() - self._started, 1),
            "files": {path.relative_to(self.run_dir).as_posix(): sha256_of(path) for path in files},
        }
        (self._working / SESSION_FILE).write_text(json.dumps(record, indent=1) + "\n")
        ends = {0: "the run is finished", EXIT_UNFINISHED: "the run is to be gone on with"}
        what = ends.get(exit_code, f"failed with exit code {exit_code}")
        _say(f"session {self.settings.session} ended after {record['seconds']} s: {what}")

    def _install(self) -> Path:
        """Installs what is needed; returns the Python to train with."""
        python = Path(sys.executable)
        pip = [sys.executable, "-m", "pip"]
        if self.settings.accelerator == "tpu":
            # Beside the image's packages, not over them: its tensorflow-cpu shares files with
            # tensorflow-tpu. Without pip: not every image has ensurepip.
            environment = self._temp / "environment"
            _say("making an environment with the pinned TensorFlow for TPUs")
            self._require(
                [sys.executable, "-m", "venv", "--clear", "--without-pip", str(environment)],
                "no virtual environment could be made; one is needed for the TPU's TensorFlow; "
                "see the lines above",
            )
            python = environment / "bin" / "python"
            pip += ["--python", str(python)]
        lock = self._temp / "requirements.txt"
        lock.write_text("\n".join(self.settings.requirements) + "\n")
        self._require(
            [
                *pip,
                *("install", "--quiet", "--disable-pip-version-check"),
                *("--no-input", "-r", str(lock)),
            ],
            "pip could not install what the trainer needs; a session with internet is needed; "
            "verify the phone number of the account at https://www.kaggle.com/settings, which "
            "turns the internet switch of its kernels on, and push again",
        )
        return python

    def _require(self, command: Sequence[str], message: str) -> None:
        if self._call(*command):
            raise SessionError(message)

    def _prove(self, python: Path) -> None:
        """Counts the devices that TensorFlow sees, in a process that cannot take us down.

        A libtpu that does not fit aborts the process without an exception.
        """
        kind = _KIND[self.settings.accelerator]
        wanted = _NUM_DEVICES[self.settings.accelerator]
        try:
            done = subprocess.run(
                [str(python), "-c", _PROOF, kind],
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=PROOF_TIMEOUT_SECS,
                check=False,
            )
            output, code = done.stdout + done.stderr, str(done.returncode)
        except subprocess.TimeoutExpired:
            output, code = "", f"none within {PROOF_TIMEOUT_SECS} s"
        proofs = [line for line in output.splitlines() if line.startswith("proof ")]
        if not proofs:
            for line in output.splitlines()[-15:]:
                _say(f"  {line}")
            raise SessionError(
                f"TensorFlow could not look for the {kind}s (exit code {code}, its last lines are "
                f"above); {wanted} are needed; this session stops before it costs more quota"
            )
        found = json.loads(proofs[-1].removeprefix("proof "))
        if found["devices"] < wanted:
            raise SessionError(
                f"TensorFlow {found['tensorflow']} sees {found['devices']} {kind} devices; "
                f"{wanted} are needed; this session stops before it costs more quota: look at the "
                "accelerator in the kernel's settings and push again"
            )
        seconds = time.time() - self._started
        _say(
            f"TensorFlow {found['tensorflow']} sees {found['devices']} {kind} devices, "
            f"{seconds:.0f} s after the start"
        )

    def _take_over_state(self) -> None:
        """Copies the run folder that the session before left, checked file by file."""
        wanted = self.settings.state_sha256
        if wanted is None:
            return
        found = [path for path in self._inputs(STATE_FILE) if sha256_of(path) == wanted]
        if not found:
            raise SessionError(
                f"no attached data set holds the state of session {self.settings.session - 1}; "
                "that version is needed; wait until the data set is ready and push again "
                "(python -m launch.kaggle chain does it)"
            )
        state = json.loads(found[0].read_text())
        for stored, file in state["files"].items():
            source, target = found[0].parent / stored, self.run_dir / file["path"]
            if not source.is_file() or sha256_of(source) != file["sha256"]:
                raise SessionError(
                    f"{file['path']} of the session before is missing or damaged in "
                    f"{found[0].parent}; a whole state is needed; upload it again: python -m "
                    "launch.kaggle chain"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        _say(f"{len(state['files'])} files of session {state['session']} taken over")

    def _find_records(self) -> Path | None:
        """The folder with built records, if there is one."""
        for path in self._inputs("manifest.json"):
            with contextlib.suppress(ValueError):
                manifest = json.loads(path.read_text())
                if isinstance(manifest, dict) and "splits" in manifest and "classes" in manifest:
                    _say(f"records: {path.parent}")
                    return path.parent
        return None

    def _build_records(self, python: Path) -> Path:
        """Builds records of the raw photos; the same photos give the same records every time."""
        records = self._temp / "records"
        flags = self.settings.build_flags or self._recognised_flags()
        source = str(next(iter(self._sources()), self._input))
        flags = tuple(flag.replace(INPUT_PLACEHOLDER, source) for flag in flags)
        self._require(
            [str(python), "-m", "tfrecords_builder", *flags, f"--out={records}"],
            "the records could not be built; see the builder's message above",
        )
        return records

    def _recognised_flags(self) -> tuple[str, ...]:
        for folder in self._sources():
            names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
            command = find_layout(names).builder_command(folder, str(self._temp / "records"))
            if command is not None:
                return tuple(command.split()[3:-1])
        raise SessionError(
            f"no records and no labelled photos recognised below {self._input} "
            f"({', '.join(str(path) for path in self._sources()) or 'it is empty'}); one of them "
            "is needed; push with --competition, --data or --dataset, or say with --build how to "
            "build records"
        )

    def _sources(self) -> list[Path]:
        """Attached data: input/NAME, input/competitions/NAME or input/datasets/OWNER/NAME."""
        found: list[Path] = []
        for path in sorted(self._input.glob("*")):
            depth = {"competitions": "*", "datasets": "*/*"}.get(path.name)
            found += sorted(path.glob(depth)) if depth else [path]
        return [path for path in found if path.is_dir() and not (path / STATE_FILE).is_file()]

    def _inputs(self, name: str) -> list[Path]:
        """Files of that name, at the top of attached data or not far below it."""
        return [
            path
            for depth in range(1, 6)
            for path in sorted(self._input.glob("*/" * depth + name))
            if path.is_file()
        ]

    def _call(self, *command: str | Path) -> int:
        """Runs a command; its lines go to the log, SIGTERM goes to it. Returns its exit code.

        Its output is read and printed: under a notebook runner ours is not the log.
        """
        with subprocess.Popen(
            [str(part) for part in command],
            env=self._environment,
            cwd=self._temp,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    print(line, end="", flush=True)
            finally:
                signal.signal(signal.SIGTERM, before)
        code = process.returncode
        return 128 - code if code < 0 else code


def sha256_of(path: Path) -> str:
    """The file's hash, hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _say(line: str) -> None:
    print(f"[kaggle] {line}", flush=True)
