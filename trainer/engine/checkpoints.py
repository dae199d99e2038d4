"""Checkpoints of a run: weights, optimizer and `Progress` in one file, saved in the background."""

import json
import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from trainer.engine.tensor_files import BrokenFileError, read_tensors, write_tensors
from trainer.errors import DataError
from trainer.progress import Progress
from trainer.whole_files import UNFINISHED, write_whole, writing

FOLDER = "checkpoints"
_SUFFIX = ".safetensors"
_NOTE = "unsaved.json"
_SECS_BETWEEN_NOTES = 10.0
_log = logging.getLogger(__name__)


class Checkpoints:
    """The newest `num_kept` checkpoints of a run folder.

    Args:
        run_dir: local or gs://.
        num_kept: older ones are deleted, never the one before a broken one.
        writes: False on workers other than the chief, which only read.
    """

    def __init__(self, run_dir: str, num_kept: int = 2, writes: bool = True):
        self._folder = os.path.join(run_dir, FOLDER)
        self._num_kept = num_kept
        self._writes = writes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self.newest: Progress | None = None
        """What was saved or loaded last; None before."""
        self._noted_at = -_SECS_BETWEEN_NOTES
        self.longest_write_secs = 0.0

    def note_unsaved(self, seconds: float) -> None:
        """Leaves a note, at most every 10 s, of the time that a kill would lose."""
        now = time.monotonic()
        if self._writes and now - self._noted_at >= _SECS_BETWEEN_NOTES:
            self._noted_at = now
            note = {"checkpoint": self._newest_name(), "seconds": seconds}
            self._thread.submit(self._write_note, json.dumps(note))

    def lost_secs(self) -> float:
        """What an earlier process spent behind the checkpoint that was loaded, by its last note."""
        path = os.path.join(self._folder, _NOTE)
        try:
            with tf.io.gfile.GFile(path) as file:
                note = json.loads(file.read())
            return float(note["seconds"]) if note["checkpoint"] == self._newest_name() else 0.0
        except (tf.errors.OpError, ValueError, KeyError):
            return 0.0

    def save(self, arrays: Mapping[str, np.ndarray | tf.Tensor], progress: Progress) -> None:
        """Starts to write a checkpoint and returns; waits first for the one before.

        `arrays` must not change any more; tensors are fetched in the background. Raises
        TrainingError if the one before failed.
        """
        self.wait()
        self.newest = progress
        if self._writes:
            self._pending = self._thread.submit(self._write, dict(arrays), progress)

    def wait(self) -> None:
        """Returns when everything is written.

        Raises:
            TrainingError: it could not be written (disk full, no permission).
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            with writing(f"a checkpoint into {self._folder}"):
                pending.result()

    def load_newest(self) -> tuple[dict[str, np.ndarray], Progress] | None:
        """The newest checkpoint that is whole; a broken one is passed over with a warning.

        Raises:
            DataError: there are some, but none is whole, or one cannot be reached now. To begin
                anew would be a run's worst mistake.
        """
        names = self._names()
        for name in reversed(names):
            try:
                arrays, metadata = read_tensors(os.path.join(self._folder, name))
            except BrokenFileError as error:
                _log.warning("broken checkpoint passed over: %s", error)
                continue
            self.newest = Progress.from_json(metadata["progress"])
            return arrays, self.newest
        if names:
            raise DataError(
                f"none of the {len(names)} checkpoints in {self._folder} is whole; need one to go "
                "on; bring one back, or delete that folder to begin anew"
            )
        return None

    def newest_file(self) -> str | None:
        """Path of the newest checkpoint, whole or not."""
        names = self._names()
        return os.path.join(self._folder, names[-1]) if names else None

    def _write(self, arrays: Mapping[str, np.ndarray | tf.Tensor], progress: Progress) -> None:
        started = time.monotonic()
        tf.io.gfile.makedirs(self._folder)
        for entry in tf.io.gfile.listdir(self._folder):
            if entry.endswith(_SUFFIX + UNFINISHED):
                # Of a process that was killed while it wrote.
                tf.io.gfile.remove(os.path.join(self._folder, entry))
        newest = _name_of(progress)
        fetched = {name: np.asarray(array) for name, array in arrays.items()}
        path = os.path.join(self._folder, newest)
        write_tensors(path, fetched, {"progress": progress.to_json()})
        names = self._names()
        behind = [name for name in names if name <= newest]
        # What lies ahead was broken, or the run would have gone on from it.
        for name in behind[: -self._num_kept] + [name for name in names if name > newest]:
            tf.io.gfile.remove(os.path.join(self._folder, name))
        self.longest_write_secs = max(self.longest_write_secs, time.monotonic() - started)

    def _newest_name(self) -> str:
        return _name_of(self.newest) if self.newest is not None else ""

    def _write_note(self, text: str) -> None:
        tf.io.gfile.makedirs(self._folder)
        path = os.path.join(self._folder, _NOTE)
        write_whole(path, text.encode())

    def _names(self) -> list[str]:
        if not tf.io.gfile.isdir(self._folder):
            return []
        return sorted(name for name in tf.io.gfile.listdir(self._folder) if name.endswith(_SUFFIX))


def _name_of(progress: Progress) -> str:
    step = progress.steps_before + progress.step
    return f"{step:09d}-{progress.stage:02d}-{progress.epoch:04d}{_SUFFIX}"
