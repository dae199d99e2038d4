"""Keeps `run.json` up to date while a run goes on."""

from typing import TYPE_CHECKING, Any

from trainer.plan import StagePlan
from trainer.progress import EpochRecord, Progress
from trainer.run_record import MODEL_FILE, with_progress, write_run_record

if TYPE_CHECKING:
    from trainer.engine.stage_run import HostCall


class RecordKeeper:
    """Observer that rewrites the record of a run after each epoch; for the chief alone."""

    def __init__(self, run_dir: str, record: dict[str, Any]):
        self._run_dir = run_dir
        self._record = record
        write_run_record(run_dir, record)

    def add(self, **facts: Any) -> None:
        """Adds facts, written with the next epoch."""
        self._record |= facts

    def on_steps(self, plan: StagePlan, progress: Progress, call: "HostCall") -> None:
        """Nothing: the record is written after epochs."""

    def on_epoch(self, plan: StagePlan, progress: Progress, record: EpochRecord) -> None:
        """Writes what was reached."""
        self._record = with_progress(self._record, progress)
        write_run_record(self._run_dir, self._record)

    def finish(self, progress: Progress) -> None:
        """Marks the run as finished."""
        self._record = with_progress(self._record, progress)
        self.add(finished=True, model=MODEL_FILE)
        write_run_record(self._run_dir, self._record)
