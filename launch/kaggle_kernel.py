"""What runs on Kaggle: one session of a run, from an empty machine to outputs that can be fetched.

It starts on the image's Python with the standard library only. The order saves quota: look at a
glance whether data and state are attached, install, prove the accelerator in a process of its own,
and only then copy and build.
"""

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch.kaggle_contract import (
    EXIT_UNFINISHED,
    RUN_FOLDER,
    SESSION_FILE,
    STATE_FILE,
    STRATEGIES,
    WEIGHTS_SUFFIX,
    KernelSettings,
    sha256_of,
)
from launch.kaggle_environment import KINDS, TrainingEnvironment, say
from launch.kaggle_input import AttachedInput, SessionError
from tfrecords_builder.errors import UserError


def run(root: str, settings: Mapping[str, Any], started: float) -> int:
    """Runs the session and writes `session.json`; returns the exit code of the script.

    A run that stopped at its deadline is a success here, and so is one that failed with weights in
    its folder: Kaggle may drop the outputs of a failure, and `fetch` reads how it ended.
    """
    session = Session(Path(root), KernelSettings(**settings), started)
    try:
        exit_code, reason = session.train(), ""
    except UserError as error:
        exit_code, reason = error.exit_code, str(error)
        say(f"error: {reason}")
    session.write_record(exit_code, reason)
    return 0 if exit_code == EXIT_UNFINISHED or session.has_weights() else exit_code


class Session:
    """One session: the folders of the machine and what is done in them, in order."""

    def __init__(self, root: Path, settings: KernelSettings, started: float) -> None:
        self.settings = settings
        self._started = started
        self._working = root / "working"
        self._temp = root / "temp" / "staged-trainer"
        self._input = AttachedInput(folder=root / "input", unpacked=self._temp / "photos")
        self._environment = TrainingEnvironment(settings.accelerator, self._temp, started)

    @property
    def run_dir(self) -> Path:
        """Where the trainer's run folder is."""
        return self._working / RUN_FOLDER

    def train(self) -> int:
        """Everything from the installation to the trainer's exit code.

        Raises:
          UserError: No accelerator, no data, or not the state to go on from.
        """
        settings = self.settings
        say(f"session {settings.session} of {settings.name} on {KINDS[settings.accelerator]}")
        state = None
        if settings.state_sha256 is not None:
            state = self._input.find_state(settings.state_sha256, settings.session - 1)
        self._input.require_data(settings.build_flags)
        self._environment.install(settings.requirements)
        self._environment.prove()
        if state is not None:
            self._take_over_state(state)
        return self._environment.run_module(
            "trainer.task",
            f"--data={self._records()}",
            f"--run_dir={self.run_dir}",
            f"--recipe={settings.recipe}",
            f"--strategy={STRATEGIES[settings.accelerator]}",
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
        say(f"session {self.settings.session} ended after {record['seconds']} s: {what}")

    def has_weights(self) -> bool:
        """Whether the run's folder holds something to go on from."""
        return any(self.run_dir.rglob(f"*{WEIGHTS_SUFFIX}"))

    def _take_over_state(self, folder: Path) -> None:
        """Copies the run folder that the session before left, checked file by file."""
        state = json.loads((folder / STATE_FILE).read_text())
        for stored, file in state["files"].items():
            source, target = folder / stored, self.run_dir / file["path"]
            if not source.is_file() or sha256_of(source) != file["sha256"]:
                raise SessionError(
                    f"{file['path']} of the session before is missing or damaged in {folder}; a "
                    "whole state is needed; upload it again: python -m launch.kaggle chain"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        say(f"{len(state['files'])} files of session {state['session']} taken over")

    def _records(self) -> Path:
        """The attached records, or those built of the attached photos: the same every time."""
        records = self._input.find_records()
        if records is not None:
            say(f"records: {records}")
            return records
        records = self._temp / "records"
        flags = self._input.builder_flags(self.settings.build_flags)
        if self._environment.run_module("tfrecords_builder", *flags, f"--out={records}"):
            raise SessionError(
                "the records could not be built; photos and tables that fit together are needed; "
                "see the builder's message above"
            )
        return records
