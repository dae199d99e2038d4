"""The steps before a failure once more, one in each host call, from what its capsule holds."""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfrecords_builder.manifest import Manifest
from trainer.engine.capsule import read_capsule
from trainer.engine.run import InitialWeights, Run, RunOptions
from trainer.engine.stage_run import HostCall
from trainer.engine.stop import StopSignal
from trainer.errors import LossError
from trainer.plan import StagePlan, plan_stages
from trainer.progress import EpochRecord, Progress
from trainer.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenAgain:
    """A failure that came back."""

    step: int
    """Of the stage, counted from 0."""
    loss: str
    """Mean of the epoch so far, as in the capsule."""
    ids: tuple[str, ...]
    """Photos of the step."""
    same_photos: bool
    """Whether the capsule names the same ones for this step."""


def replay_capsule(
    folder: str,
    facts: Mapping[str, Any],
    recipe: Recipe,
    manifest: Manifest,
    data_dir: str,
    strategy: tf.distribute.Strategy,
    initial_weights: InitialWeights,
    on_step: Callable[[StagePlan, int, float], None],
) -> SeenAgain | None:
    """Trains from the capsule's checkpoint, or from the start, to the step that failed.

    On as many replicas as the run had, each step is the very step of the run: same photos, seeds
    and rates, and on a CPU the same loss, bit for bit.

    Args:
        folder: of the capsule; stays as it is.
        facts: of the capsule.
        recipe: of the capsule.
        manifest: of the data in `data_dir`, which must be that of the run.
        initial_weights: what the run began with; used if the capsule holds no weights.
        on_step: called behind each step that did not fail: plan, step, mean loss of the epoch.

    Returns:
        The failure, or None if the loss did not explode up to the step at which it did in the run.
    """
    failed_step = facts["batches"][-1]["step"]

    class Steps:
        def on_steps(self, plan: StagePlan, progress: Progress, call: HostCall) -> None:
            on_step(plan, progress.step - 1, call.metrics.loss)
            if plan.stage.name == facts["stage"] and progress.step > failed_step:
                raise _WentThrough

        def on_epoch(self, plan: StagePlan, progress: Progress, record: EpochRecord) -> None:
            pass

    plans = plan_stages(
        recipe,
        num_examples=manifest.splits["train"].num_examples,
        num_replicas=strategy.num_replicas_in_sync,
    )
    last = [plan.stage.name for plan in plans].index(facts["stage"])
    with tempfile.TemporaryDirectory(prefix="replay-") as run_dir:
        _copy_folder(folder, run_dir)
        try:
            Run(
                strategy=strategy,
                recipe=recipe,
                plans=plans[: last + 1],
                manifest=manifest,
                seed=facts["seed"],
                options=RunOptions(
                    run_dir=run_dir,
                    data_dir=data_dir,
                    max_steps_per_call=1,
                    compile_with_xla=facts["compile_with_xla"],
                ),
                initial_weights=initial_weights,
                stop=StopSignal(None),
                observers=(Steps(),),
            ).run()
        except LossError as error:
            return _compare(facts, read_capsule(error.capsule))
        except _WentThrough:
            return None
    raise RuntimeError(f"the run has no step {failed_step} of stage {facts['stage']!r}")


class _WentThrough(Exception):
    """The step that failed in the run did not fail here."""


def _compare(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> SeenAgain:
    (batch,) = again["batches"]
    return SeenAgain(
        step=batch["step"],
        loss=again["loss"],
        ids=tuple(batch["ids"]),
        same_photos=batch in recorded["batches"],
    )


def _copy_folder(source: str, target: str) -> None:
    """Copies a folder, local or gs://, into one that is there."""
    for folder, _, names in tf.io.gfile.walk(source):
        inner = os.path.join(target, os.path.relpath(folder, source))
        tf.io.gfile.makedirs(inner)
        for name in names:
            tf.io.gfile.copy(os.path.join(folder, name), os.path.join(inner, name))
