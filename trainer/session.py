"""An opened run folder and the devices that train in it, and what is printed on the way."""

import dataclasses
import functools
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfrecords_builder.manifest import Manifest
from trainer.devices import describe, is_chief, make_strategy, runs_on_gpus
from trainer.engine.ledger import TimeLedger
from trainer.engine.stop import StopSignal, parse_duration
from trainer.errors import Preempted
from trainer.initial_weights import make_initial_weights
from trainer.plan import StagePlan, plan_stages, plan_table
from trainer.recipe import Recipe
from trainer.report.record_keeper import RecordKeeper
from trainer.run_folder import open_run
from trainer.run_record import MODEL_FILE, RunSettings, make_run_record
from trainer.session_options import SessionOptions
from trainer.tensorflow_start import make_deterministic
from trainer.tpu import compiles_with_xla, has_tpu_build
from trainer.vertex_environment import VertexEnvironment, copy_model

if TYPE_CHECKING:
    import tensorflow as tf

    from trainer.engine.run import Run
    from trainer.engine.stage_run import Observer
    from trainer.engine.workers import Workers
    from trainer.weights import LoadedWeights


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One start of a run, its folder open on this worker."""

    options: SessionOptions
    recipe: Recipe
    manifest: Manifest
    stop: StopSignal
    strategy: "tf.distribute.Strategy"
    workers: "Workers"
    plans: tuple[StagePlan, ...]
    record: dict[str, Any]
    is_chief: bool
    is_first_start: bool

    def say_finished(self) -> None:
        if self.is_chief:
            print(plan_table(self.plans), flush=True)
        model = os.path.join(self.options.run_dir, MODEL_FILE)
        print(f"this run is finished; its model is {model}")

    def train(self) -> None:
        from trainer.report.summary import print_summary
        from trainer.report.terminal import TerminalProgress

        options = self.options
        if not self.is_chief:
            with self.workers.names_a_lost_worker():
                self.make_run(None).run()
            return
        keeper = RecordKeeper(options.run_dir, self.record)
        display = TerminalProgress(self.plans, self.stop.secs_left, options.quiet, options.verbose)
        run = self.make_run(keeper, display)
        with display, self.workers.names_a_lost_worker():
            progress = run.run()
        keeper.finish(progress)
        seconds = time.monotonic() - self.stop.process_started
        print_summary(options.run_dir, options.data_dir, progress, seconds)
        if (model_dir := VertexEnvironment.read().model_dir) is not None:
            copy_model(options.run_dir, model_dir)
            print(f"model copied to {model_dir}")

    def make_run(self, keeper: RecordKeeper | None, *displays: "Observer") -> "Run":
        """The run that the engine carries out, its plan told.

        Args:
            keeper: writes the record; None where nothing is kept: not the chief, or a rehearsal.
            displays: that the run's steps and epochs are told besides.
        """
        import tensorflow as tf

        from trainer.engine.run import Run, RunOptions
        from trainer.report.terminal import print_rehearsed

        options = self.options
        on_gpu = runs_on_gpus(self.strategy)
        on_tpu = isinstance(self.strategy, tf.distribute.TPUStrategy)
        if self.is_chief:
            self._say_plan(float32_on_tpu=on_tpu and self.recipe.precision == "float32")
        return Run(
            strategy=self.strategy,
            recipe=self.recipe,
            plans=self.plans,
            manifest=self.manifest,
            seed=options.seed,
            options=RunOptions(
                run_dir=options.run_dir,
                data_dir=options.data_dir,
                cache=options.cache,
                checkpoint_secs=parse_duration(options.checkpoint_every),
                max_rollbacks=options.max_rollbacks,
                compile_with_xla=compiles_with_xla(
                    options.xla,
                    on_gpu=on_gpu,
                    on_tpu=on_tpu,
                    tpu_build=has_tpu_build(),
                    num_replicas=self.strategy.num_replicas_in_sync,
                ),
                rehearses=on_gpu or on_tpu if options.rehearse is None else options.rehearse,
            ),
            initial_weights=make_initial_weights(
                self.recipe, self.manifest, functools.partial(_note_weights, keeper)
            ),
            stop=self.stop,
            observers=() if keeper is None else (keeper, *displays, *self._tensorboard()),
            ledger=TimeLedger(self.stop.process_started),
            announce=(lambda line: None) if options.quiet else print,
            on_rehearsed=print_rehearsed,
            before_first_step=self._before_first_step,
        )

    def _say_plan(self, *, float32_on_tpu: bool) -> None:
        from trainer.engine.census import count_variables

        variables = count_variables(self.recipe, self.plans, len(self.manifest.classes))
        self.record["stages"] = [dataclasses.asdict(each) for each in variables]
        print(plan_table(self.plans, variables), flush=True)
        if float32_on_tpu:
            print("note: float32 on a TPU; --precision=mixed_bfloat16 is what its cores are for")

    def _tensorboard(self) -> "tuple[Observer, ...]":
        from trainer.report.tensorboard import ProfiledSteps, TensorBoardRun

        run_dir = self.options.run_dir
        profiled = (ProfiledSteps(run_dir),) if self.options.profile else ()
        return (TensorBoardRun(run_dir, self.record, self.plans), *profiled)

    def _before_first_step(self) -> None:
        if self.workers.any((reason := self.stop.reason(0)) is not None):
            raise Preempted(
                f"stopped by {reason or 'another worker'} before the first step; nothing is lost; "
                "start the same command again"
            )
        if self.is_chief and self.is_first_start:
            from trainer.report.previews import write_previews

            write_previews(
                self.options.run_dir,
                self.recipe,
                self.manifest,
                self.options.data_dir,
                self.options.seed,
            )


def open_session(
    options: SessionOptions, recipe: Recipe, manifest: Manifest, stop: StopSignal
) -> Session:
    """Finds the devices, agrees with the other workers, and opens the run's folder."""
    from trainer.engine.workers import Workers

    if options.deterministic:
        make_deterministic(options.seed)
    strategy = make_strategy(options.strategy, options.num_devices, options.tpu)
    stop.release()
    plans = plan_stages(
        recipe,
        num_examples=manifest.splits["train"].num_examples,
        num_replicas=strategy.num_replicas_in_sync,
        batch_scaling=options.batch_scaling,
        rate_scaling=options.rate_scaling,
    )
    settings = RunSettings(
        recipe=recipe,
        seed=options.seed,
        batch_scaling=options.batch_scaling,
        data_fingerprint=manifest.fingerprint,
        rate_scaling=options.rate_scaling,
        num_replicas=strategy.num_replicas_in_sync,
    )
    workers = Workers(strategy)
    workers.require_same(
        "recipe, seed, batch scaling or data",
        json.dumps(settings.to_json(), sort_keys=True),
        "start the same command with the same records everywhere",
    )
    devices = describe(strategy)
    fresh = make_run_record(
        settings, manifest, options.data_dir, devices, strategy.num_replicas_in_sync
    )
    record = workers.chief_first(
        lambda: open_run(options.run_dir, settings, fresh, allow_changes=options.allow_changes)
    )
    is_first_start = not record["num_starts"]
    record["num_starts"] += 1
    if is_chief(strategy):
        print(devices)
        print(f"data: {_describe_data(manifest)}")
    return Session(
        options=options,
        recipe=recipe,
        manifest=manifest,
        stop=stop,
        strategy=strategy,
        workers=workers,
        plans=plans,
        record=record,
        is_chief=is_chief(strategy),
        is_first_start=is_first_start,
    )


def _describe_data(manifest: Manifest) -> str:
    counts = ", ".join(f"{split.num_examples} {name}" for name, split in manifest.splits.items())
    return f"{counts}, {len(manifest.classes)} classes"


def _note_weights(keeper: RecordKeeper | None, loaded: "LoadedWeights", num_variables: int) -> None:
    if keeper is None:
        return
    print(
        f"weights: {loaded.description}, {len(loaded.arrays)} of {num_variables} variables filled"
    )
    for note in loaded.notes:
        print(f"weights: {note}")
    keeper.add(weights=loaded.lineage())
