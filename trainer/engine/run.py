"""A whole run in the order in which it happens: plan, resume, stages, the best model at the end."""

import functools
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from tfrecords_builder.manifest import Manifest
from trainer.devices import is_chief
from trainer.engine.built_stage import BuiltStage, build_stage
from trainer.engine.capsule import capsule_folder, describe_batches, write_capsule
from trainer.engine.checkpoints import FOLDER as CHECKPOINT_FOLDER
from trainer.engine.checkpoints import Checkpoints
from trainer.engine.ledger import TimeLedger
from trainer.engine.rehearsal import RehearsedStage, rehearse
from trainer.engine.stage_input import StageInput
from trainer.engine.stage_run import Observer, StageRun
from trainer.engine.stage_state import StageState
from trainer.engine.stage_times import StageTimes
from trainer.engine.steps import MAX_STEPS_PER_CALL
from trainer.engine.stop import StopSignal
from trainer.engine.tensor_files import read_tensors
from trainer.engine.weight_files import WeightFiles
from trainer.engine.workers import Workers
from trainer.errors import LossError, Preempted
from trainer.input.canvases import Examples
from trainer.plan import StagePlan, fixed_recipe
from trainer.progress import Progress, in_batches_of, next_stage
from trainer.recipe import Recipe

_log = logging.getLogger(__name__)

InitialWeights = Callable[[Mapping[str, tuple[int, ...]]], Mapping[str, np.ndarray]]
"""Names and shapes of the network's variables -> arrays for some of them; the rest stay fresh."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How a run is carried out; nothing here changes its outcome."""

    run_dir: str
    data_dir: str
    cache: str = "auto"
    checkpoint_secs: float = 600.0
    num_kept: int = 2
    max_rollbacks: int = 0
    """How often an exploded loss goes back to the last checkpoint, with half the learning rate."""
    max_steps_per_call: int = MAX_STEPS_PER_CALL
    compile_with_xla: bool = False
    rehearses: bool = False
    """Whether the stages that are left are tried before the first step."""


class Run:
    """Trains all stages of a recipe, from the newest checkpoint if there is one."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        recipe: Recipe,
        plans: tuple[StagePlan, ...],
        manifest: Manifest,
        seed: int,
        options: RunOptions,
        initial_weights: InitialWeights,
        stop: StopSignal,
        observers: tuple[Observer, ...],
        ledger: TimeLedger | None = None,
        announce: Callable[[str], None] = lambda line: None,
        on_rehearsed: Callable[[RehearsedStage], None] = lambda stage: None,
        before_first_step: Callable[[], None] = lambda: None,
    ):
        """Prepares nothing yet.

        Args:
            initial_weights: called if there is neither a checkpoint nor a stage before.
            observers: are told of steps and epochs, on the chief.
            ledger: counts from the start of the process; a new one by default.
            announce: shows a line to the user, on the chief.
            on_rehearsed: gets what the rehearsal of a stage took, on the chief.
            before_first_step: called once, behind the rehearsal; may raise Preempted.
        """
        self._strategy = strategy
        self._recipe = recipe
        self._plans = plans
        self._manifest = manifest
        self._seed = seed
        self._options = options
        self._initial_weights = initial_weights
        self._stop = stop
        self._chief = is_chief(strategy)
        self._workers = Workers(strategy)
        self._observers = observers if self._chief else ()
        self._checkpoints = Checkpoints(options.run_dir, options.num_kept, writes=self._chief)
        self._ledger = ledger or TimeLedger()
        self._announce = announce if self._chief else lambda line: None
        self._on_rehearsed = on_rehearsed if self._chief else lambda stage: None
        self._before_first_step = before_first_step
        self._weight_files = WeightFiles(options.run_dir, recipe, manifest, writes=self._chief)
        self._rehearsed: dict[int, BuiltStage] = {}
        self._preparing_since = self._ledger.started
        self._secs_to_begin = 0.0
        self._input = StageInput(strategy, manifest, options.data_dir, options.cache, seed)

    def rehearse(self, first_stage: int = 0) -> None:
        """Tries the stages from `first_stage` on, the last one first; `run` then uses them.

        Raises:
            DeviceError: a stage does not fit.
        """
        self._rehearsed = rehearse(
            self._strategy,
            self._recipe,
            self._plans[first_stage:],
            self._build,
            self._on_rehearsed,
        )

    def run(self) -> Progress:
        """Returns the progress at the end; the model is in `MODEL_FILE`.

        Raises:
            Preempted, TrainingError, DataError: see there.
            DeviceError: a rehearsed stage does not fit.
        """
        loading = time.monotonic()
        arrays, progress = self._load_newest()
        self._count_start(progress, time.monotonic() - loading)
        if self._options.rehearses:
            with self._ledger.prepare("rehearsal"):
                self.rehearse(progress.stage)
        with self._ledger.prepare("start"):
            self._before_first_step()
        num_rollbacks = 0
        while progress.stage < len(self._plans):
            try:
                progress = self._run_stage(self._plans[progress.stage], progress, arrays)
                arrays = {}
                self._stop_between_stages(progress)
            except LossError as error:
                num_rollbacks += 1
                if num_rollbacks > self._options.max_rollbacks:
                    raise
                arrays, progress = self._load_newest()
                progress = replace(progress, rate_factor=0.5 * progress.rate_factor)
                # A restart, a replay and the next rollback begin with the lower rate.
                self._checkpoints.save(arrays, progress)
                _log.warning("rolled back to step %d with half the rate: %s", progress.step, error)
            except Preempted:
                self._publish_best()
                raise
        self._checkpoints.wait()
        self._weight_files.publish(progress.carried_file)
        # To the others, a worker that ends earlier looks like one that is lost.
        self._workers.wait()
        return progress

    def _count_start(self, progress: Progress, loading_secs: float) -> None:
        """What happened before this line, here and in a process that was killed."""
        lost = self._checkpoints.lost_secs()
        self._ledger.is_restart = lost > 0 or progress != Progress()
        seconds = time.monotonic() - self._ledger.started - self._ledger.counted_secs()
        restoring = loading_secs if self._ledger.is_restart else 0.0
        self._ledger.add_prepared("start", seconds - restoring)
        if restoring:
            self._ledger.add_prepared("restore", restoring)
        if lost:
            self._ledger.add_lost(lost)
        self._checkpoints.note_unsaved(self._ledger.unsaved_secs())
        if self._ledger.is_restart and progress.stage < len(self._plans):
            plan = self._plans[progress.stage]
            step = in_batches_of(progress, plan.global_batch).step
            self._announce(
                f"goes on behind step {step} of {plan.num_steps} of stage {plan.stage.name!r}"
            )

    def _load_newest(self) -> tuple[Mapping[str, np.ndarray], Progress]:
        """The newest checkpoint, the same on every worker; nothing and no progress without one."""
        self._checkpoints.wait()
        self._workers.wait()
        arrays, progress = self._checkpoints.load_newest() or ({}, Progress())
        self._workers.require_same(
            f"the newest checkpoint in --run_dir={self._options.run_dir}",
            progress.to_json(),
            "put --run_dir where all of them see it",
        )
        return arrays, progress

    def _run_stage(
        self, plan: StagePlan, progress: Progress, arrays: Mapping[str, np.ndarray]
    ) -> Progress:
        times = StageTimes(self._ledger, self._preparing_since, began=time.monotonic())
        with self._ledger.prepare("build"):
            self._input.open(plan)
            built = self._rehearsed.pop(plan.index, None) or self._build(plan)
            state = built.state
            if not arrays:
                self._start_weights(state, progress)
        if arrays:
            with self._ledger.prepare("restore"):
                state.restore(arrays)
        examples: Examples = self._input.train
        if plan.stage.cache_feature_views:
            with self._ledger.prepare("features"):
                examples = self._input.features(plan, state)
        stage_run = StageRun(
            recipe=self._recipe,
            plan=plan,
            built=built,
            make_feed=functools.partial(self._input.feed, plan, examples),
            validation=self._input.validation,
            checkpoints=self._checkpoints,
            save_weights=functools.partial(self._weight_files.save, plan, state),
            checkpoint_secs=self._options.checkpoint_secs,
            stop=self._stop,
            ledger=self._ledger,
            times=times,
            observers=self._observers,
            write_capsule=functools.partial(self._write_capsule, plan),
            max_steps_per_call=self._options.max_steps_per_call,
            workers=self._workers,
            announce=self._announce,
        )
        progress = next_stage(stage_run.run(progress))
        self._secs_to_begin = times.secs_to_begin(self._checkpoints.longest_write_secs)
        self._preparing_since = time.monotonic()
        self._checkpoints.save({}, progress)
        self._checkpoints.wait()
        self._weight_files.keep_only(plan, progress.carried_file)
        return progress

    def _stop_between_stages(self, progress: Progress) -> None:
        """Raises Preempted where the next stage could not begin, and be left, in time."""
        if progress.stage == len(self._plans):
            return
        reason = self._stop.reason(self._secs_to_begin)
        if self._workers.any(reason is not None):
            raise Preempted(
                f"stopped by {reason or 'another worker'} before stage "
                f"{self._plans[progress.stage].stage.name!r}; the checkpoint is written; start the "
                "same command again to go on"
            )

    def _build(self, plan: StagePlan) -> BuiltStage:
        return build_stage(
            self._strategy,
            self._recipe,
            plan,
            self._manifest,
            self._seed,
            self._options.compile_with_xla,
        )

    def _start_weights(self, state: StageState, progress: Progress) -> None:
        if progress.carried_file is not None:
            self._workers.wait()  # The chief has written it.
            arrays, _ = read_tensors(os.path.join(self._options.run_dir, progress.carried_file))
            state.load_weights(arrays)
            return
        fresh = state.weights()
        given = self._initial_weights({name: array.shape for name, array in fresh.items()})
        state.load_weights({**fresh, **given})

    def _write_capsule(
        self, plan: StagePlan, progress: Progress, rates: Sequence[float], loss: float
    ) -> str:
        total_steps = progress.steps_before + progress.step
        if not self._chief:
            return capsule_folder(self._options.run_dir, total_steps)
        steps = range(progress.step - len(rates), progress.step)
        facts = {
            "stage": plan.stage.name,
            "learning_rates": list(rates),
            "loss": str(loss),
            "seed": self._seed,
            # So that it plans the same steps on whatever it is replayed on.
            "recipe": fixed_recipe(self._recipe, self._plans).to_json(),
            "num_replicas": plan.num_replicas,
            "compile_with_xla": self._options.compile_with_xla,
            "data_dir": self._options.data_dir,
            "data_fingerprint": self._manifest.fingerprint,
            "batches": describe_batches(self._input.order(plan), self._input.train, steps),
        }
        newest = self._checkpoints.newest_file()
        files = {f"{CHECKPOINT_FOLDER}/{os.path.basename(newest)}": newest} if newest else {}
        if (carried := progress.carried_file) is not None:
            files[carried] = os.path.join(self._options.run_dir, carried)
        return write_capsule(self._options.run_dir, total_steps, facts, files)

    def _publish_best(self) -> None:
        """Before the end of a run, the best weights so far are its model."""
        newest = self._checkpoints.newest
        if newest is not None:
            self._weight_files.publish(newest.best_file or newest.carried_file)
