"""A run for TensorBoard: scalars of all stages on one axis of optimizer steps, settings, layout."""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalars
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from trainer.plan import StagePlan
from trainer.progress import EpochRecord, Progress, total_seconds
from trainer.report.run_text import data_text, recipe_text, settings_of, stages_text
from trainer.vertex_environment import VertexEnvironment

if TYPE_CHECKING:
    from trainer.engine.stage_run import HostCall

FOLDER = "tensorboard"
_PAGES = {
    "Is it learning?": {
        "accuracy, train and validation": ["progress/accuracy"],
        "loss, train and validation": ["progress/loss"],
        "stage": ["progress/stage"],
        "learning rate": ["progress/learning_rate"],
    },
    "Is it healthy?": {
        "gradient norm before clipping": ["weights/gradient_norm"],
        "norm of the trained weights": ["weights/weight_norm"],
        "updates left out in an epoch": ["weights/skipped_updates"],
    },
    "Where does the time go?": {
        "images a second": ["speed/images_per_second"],
        "share of the time spent waiting for input": ["speed/input_wait_share"],
        "seconds so far, by activity": ["time/.*"],
    },
}


def folder_of(run_dir: str) -> str:
    """Where the event files of a run go: below its folder, or where Vertex AI wants them."""
    return VertexEnvironment.read().tensorboard_dir or os.path.join(run_dir, FOLDER)


class TensorBoardRun:
    """Observer that writes event files below the run folder, local or gs://.

    Args:
        run_dir: of the run.
        record: of the run, as in `run.json`.
        plans: of its stages.
    """

    def __init__(self, run_dir: str, record: Mapping[str, Any], plans: tuple[StagePlan, ...]):
        folder = folder_of(run_dir)
        folders = {name: os.path.join(folder, name) for name in ("train", "validation")}
        is_new = not tf.io.gfile.exists(folders["train"])
        self._writers = {name: EventFileWriter(path) for name, path in folders.items()}
        # Of a run that is started again, any step may be written already.
        self._last_step: int | None = 0 if is_new else None
        if is_new:
            self._start(0)
            self._describe(record, plans)
            # Now, for it is written once: a start that is killed would leave the others without.
            for writer in self._writers.values():
                writer.flush()

    def on_steps(self, plan: StagePlan, progress: Progress, call: "HostCall") -> None:
        """Speed, learning rate and gradient norm after each host call."""
        step = progress.steps_before + progress.step
        if self._last_step is None or step <= self._last_step:
            self._start(step)
        rate = plan.learning_rate_at(progress.step - 1) * progress.rate_factor
        values = {
            "progress/learning_rate": rate,
            "weights/gradient_norm": call.metrics.gradient_norm,
        }
        if not call.is_first:
            values["speed/images_per_second"] = call.num_images / call.seconds
            values["speed/input_wait_share"] = call.input_wait_secs / call.seconds
        self._write("train", step, values)
        self._last_step = step

    def on_epoch(self, plan: StagePlan, progress: Progress, record: EpochRecord) -> None:
        """Loss and accuracy, norms and the time ledger after each epoch."""
        if self._last_step is None or record.step < self._last_step:
            # The carried-over network stands at the last step of the stage before, which stays.
            self._start(record.step + 1 if record.epoch == 0 else record.step)
        self._last_step = record.step
        train = {
            "progress/loss": record.train_loss,
            "progress/accuracy": record.train_accuracy,
            "progress/stage": plan.index + 1,
            "weights/weight_norm": record.weight_norm,
            "weights/skipped_updates": record.num_skipped if record.epoch else None,
        }
        for what, seconds in total_seconds(progress.seconds).items():
            train[f"time/{what}"] = seconds
        self._write("train", record.step, train)
        validation = {"progress/loss": record.val_loss, "progress/accuracy": record.val_accuracy}
        self._write("validation", record.step, validation)
        for writer in self._writers.values():
            writer.flush()

    def _write(self, name: str, step: int, values: Mapping[str, float | None]) -> None:
        for tag, value in values.items():
            if value is not None:
                self._add(name, step, scalar_pb(tag, value))

    def _start(self, step: int) -> None:
        """From the second on in a folder, a start makes TensorBoard drop its step and what follows.

        A process writes more than one where the run goes back to a checkpoint.
        """
        for writer in self._writers.values():
            start = SessionLog(status=SessionLog.START)
            writer.add_event(Event(wall_time=time.time(), step=step, session_log=start))

    def _add(self, name: str, step: int, summary: Any) -> None:
        # TensorBoard's own class may be another than the one that this was made with.
        event = Event(wall_time=time.time(), step=step)
        event.summary.MergeFromString(summary.SerializeToString())
        self._writers[name].add_event(event)

    def _describe(self, record: Mapping[str, Any], plans: tuple[StagePlan, ...]) -> None:
        self._add("train", 0, custom_scalars.pb(_layout()))
        for tag, text in (
            ("1 recipe", recipe_text(record)),
            ("2 stages", stages_text(plans)),
            ("3 data and machine", data_text(record)),
        ):
            self._add("train", 0, text_pb(tag, text))
        settings = hparams.hparams_pb(settings_of(record), trial_id=record["run_id"])
        self._add("validation", 0, settings)


def _layout() -> Any:
    def chart(title: str, tags: list[str]) -> Any:
        content = layout_pb2.MultilineChartContent(tag=tags)
        return layout_pb2.Chart(title=title, multiline=content)

    return layout_pb2.Layout(
        category=[
            layout_pb2.Category(title=page, chart=[chart(*item) for item in charts.items()])
            for page, charts in _PAGES.items()
        ]
    )


class ProfiledSteps:
    """Observer that keeps the profiler's trace of the first host call that is not the first.

    Args:
        run_dir: the trace goes below its TensorBoard folder.
    """

    def __init__(self, run_dir: str):
        self._folder = folder_of(run_dir)
        self._state = "waits"

    def on_steps(self, plan: StagePlan, progress: Progress, call: "HostCall") -> None:
        """Starts behind the first call, ends behind the next."""
        if self._state == "waits":
            tf.profiler.experimental.start(self._folder)
            self._state = "traces"
        elif self._state == "traces":
            tf.profiler.experimental.stop()
            self._state = "done"

    def on_epoch(self, plan: StagePlan, progress: Progress, record: EpochRecord) -> None:
        """An evaluation is not part of the trace."""
        if self._state == "traces":
            tf.profiler.experimental.stop()
            self._state = "done"
