"""What a pushed script and the commands here agree on: settings, names of files, exit code.

Standard library only: the script starts on the machine's Python before anything is installed.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import Preempted

EXIT_UNFINISHED = Preempted.exit_code
"""Of trainer.task: stopped on purpose, to be gone on with."""
RUN_FOLDER = "run"
"""Below the outputs of a session: the run's folder."""
SESSION_FILE = "session.json"
"""Beside it: how the session ended, and the checksum of every file."""
STATE_FILE = "state.json"
"""In a data set: the files of the session before, with checksums."""
STRATEGIES = {"tpu": "tpu", "gpu": "mirrored", "cpu": "cpu"}
"""Of trainer.task, by accelerator."""
NUM_DEVICES = {"tpu": 8, "gpu": 2, "cpu": 1}
"""That TensorFlow must see."""
WEIGHTS_SUFFIX = ".safetensors"
"""Of checkpoints and models."""


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
    data: tuple[str, ...]
    """Competitions and data sets that the session reads; with others it is another launch."""
    recipe: str
    deadline: str
    """Of trainer.task, counted from the start of the script."""
    trainer_flags: tuple[str, ...]
    build_flags: tuple[str, ...]
    """Of tfrecords_builder, for raw photos; empty to recognise them. {input} is where data are."""
    requirements: tuple[str, ...]
    state_sha256: str | None
    """Of the state.json that this session must find; None for the first session of a run."""


def sha256_of(path: Path) -> str:
    """The file's hash, hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
