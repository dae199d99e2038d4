"""From the settings of the command to a finished run, and what is printed on the way."""

import contextlib
import dataclasses
import functools
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfrecords_builder.manifest import Manifest, load_manifest
from trainer.auto_submit import AutoSubmit, check_auto_submit, sleep_until_told, submit_run
from trainer.devices import (
    describe,
    is_chief,
    keep_compiled,
    make_deterministic,
    make_strategy,
    nvidia_is_near,
    require_tensorflow,
)
from trainer.engine.ledger import TimeLedger
from trainer.engine.stop import StopSignal, parse_duration
from trainer.errors import DataError, Preempted
from trainer.initial_weights import make_initial_weights
from trainer.network.backbones import check_backbone
from trainer.overrides import apply_overrides
from trainer.plan import plan_stages, plan_table
from trainer.recipe import Recipe
from trainer.recipes import load_recipe
from trainer.report.record_keeper import RecordKeeper
from trainer.run_folder import open_run
from trainer.run_record import MODEL_FILE, RunSettings, make_run_record
from trainer.tpu import compiles_with_xla, has_tpu_build, require_importable, tpu_is_near
from trainer.vertex_environment import VertexEnvironment, copy_model

if TYPE_CHECKING:
    import tensorflow as tf

    from trainer.weights import LoadedWeights


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionOptions:
    """The flags of `trainer.task`, read once; see there."""

    data_dir: str
    run_dir: str
    recipe_name: str
    overrides: tuple[str, ...]
    weights: str | None
    precision: str | None
    strategy: str
    num_devices: int | None
    tpu: str
    seed: int
    batch_scaling: str
    cache: str
    xla: bool | None
    deadline: str | None
    checkpoint_every: str
    max_rollbacks: int
    rehearse: bool | None
    rehearse_only: bool
    allow_changes: bool
    preview: str | None = None
    """Where to write a picture of what the network sees, instead of training."""
    quiet: bool = False
    verbose: bool = False
    profile: bool = False
    auto_submit: AutoSubmit | None = None
    rate_scaling: str = "linear"
    deterministic: bool = False


def train(options: SessionOptions, stop: StopSignal | None = None) -> None:
    """Carries out one start of a run; the user's mistakes are found before TensorFlow loads.

    Args:
        options: the flags.
        stop: made when the process began, so that all of its time is counted; it may hold SIGTERM
            back until the strategy is made.

    Raises:
        UserError: of every kind, see `trainer.errors`.
    """
    started = time.monotonic() if stop is None else stop.process_started
    if stop is None:
        stop = StopSignal(parse_duration(options.deadline) if options.deadline else None)
    recipe = resolve_recipe(options)
    checkpoint_secs = parse_duration(options.checkpoint_every)
    manifest = load_manifest(options.data_dir)
    _check_data(manifest, options.data_dir)
    if options.auto_submit is not None:
        check_auto_submit(options.auto_submit, options.run_dir, manifest)

    if options.strategy in ("auto", "tpu") and tpu_is_near():
        require_importable()
    if options.xla or (options.xla is None and nvidia_is_near()):
        keep_compiled(options.run_dir)
    require_tensorflow()
    if options.preview is not None:
        from trainer.report.previews import write_preview

        write_preview(options.preview, recipe, manifest, options.data_dir, options.seed)
        print(f"what the network sees in each stage: {options.preview}")
        return
    import tensorflow as tf

    if options.deterministic:
        make_deterministic(options.seed)
    from trainer.engine.census import count_variables
    from trainer.engine.run import Run, RunOptions
    from trainer.engine.workers import Workers
    from trainer.report.summary import print_summary
    from trainer.report.tensorboard import ProfiledSteps, TensorBoardRun
    from trainer.report.terminal import TerminalProgress, print_rehearsed

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
    )
    workers = Workers(strategy)
    workers.require_same(
        "recipe, seed, batch scaling or data",
        json.dumps(settings.to_json(), sort_keys=True),
        "start the same command with the same records everywhere",
    )
    record = workers.chief_first(
        lambda: open_run(
            options.run_dir,
            settings,
            make_run_record(
                settings,
                manifest,
                options.data_dir,
                describe(strategy),
                strategy.num_replicas_in_sync,
            ),
            allow_changes=options.allow_changes,
        )
    )
    chief = is_chief(strategy)
    if chief:
        print(describe(strategy))
        print(f"data: {_describe_data(manifest)}")
    if record["finished"]:
        if chief:
            print(plan_table(plans), flush=True)
        print(f"this run is finished; its model is {os.path.join(options.run_dir, MODEL_FILE)}")
        if options.auto_submit is not None:
            _submit(options.auto_submit, options, strategy, stop)
        return
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    on_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    xla = compiles_with_xla(options.xla, on_gpu=on_gpu, on_tpu=on_tpu, tpu_build=has_tpu_build())
    ledger = TimeLedger(started)
    if chief:
        variables = count_variables(recipe, plans, len(manifest.classes))
        record["stages"] = [dataclasses.asdict(each) for each in variables]
        print(plan_table(plans, variables), flush=True)
        if on_tpu and recipe.precision == "float32":
            print("note: float32 on a TPU; --precision=mixed_bfloat16 is what its cores are for")
    is_first_start = not record["num_starts"]

    def before_first_step() -> None:
        if workers.any((reason := stop.reason(0)) is not None):
            raise Preempted(
                f"stopped by {reason or 'another worker'} before the first step; nothing is lost; "
                "start the same command again"
            )
        if chief and is_first_start:
            from trainer.report.previews import write_previews

            write_previews(options.run_dir, recipe, manifest, options.data_dir, options.seed)

    record["num_starts"] += 1
    keeper = RecordKeeper(options.run_dir, record) if chief and not options.rehearse_only else None
    display = TerminalProgress(plans, stop.secs_left, options.quiet, options.verbose)
    profiled = (ProfiledSteps(options.run_dir),) if options.profile else ()
    run = Run(
        strategy=strategy,
        recipe=recipe,
        plans=plans,
        manifest=manifest,
        seed=options.seed,
        options=RunOptions(
            run_dir=options.run_dir,
            data_dir=options.data_dir,
            cache=options.cache,
            checkpoint_secs=checkpoint_secs,
            max_rollbacks=options.max_rollbacks,
            compile_with_xla=xla,
            rehearses=on_gpu or on_tpu if options.rehearse is None else options.rehearse,
        ),
        initial_weights=make_initial_weights(
            recipe, manifest, functools.partial(_note_weights, keeper)
        ),
        stop=stop,
        observers=(keeper, display, TensorBoardRun(options.run_dir, record, plans), *profiled)
        if keeper is not None
        else (),
        ledger=ledger,
        announce=(lambda line: None) if options.quiet else print,
        on_rehearsed=print_rehearsed,
        before_first_step=before_first_step,
    )
    if options.rehearse_only:
        run.rehearse()
        return
    with display if chief else contextlib.nullcontext(), workers.names_a_lost_worker():
        progress = run.run()
    if keeper is not None:
        keeper.finish(progress)
        seconds = time.monotonic() - started
        print_summary(options.run_dir, options.data_dir, progress, seconds)
        if (model_dir := VertexEnvironment.read().model_dir) is not None:
            copy_model(options.run_dir, model_dir)
            print(f"model copied to {model_dir}")
    if options.auto_submit is not None:
        # All workers predict, from the published model; the chief has just written it.
        workers.gather(0)
        _submit(options.auto_submit, options, strategy, stop)


def _submit(
    wanted: AutoSubmit,
    options: SessionOptions,
    strategy: "tf.distribute.Strategy",
    stop: StopSignal,
) -> None:
    submit_run(wanted, options.run_dir, options.data_dir, strategy, sleep_until_told(stop))


def resolve_recipe(options: SessionOptions) -> Recipe:
    """The recipe with `--set`, `--weights` and `--precision` applied."""
    recipe = apply_overrides(load_recipe(options.recipe_name), options.overrides)
    changes: dict[str, Any] = {"weights": options.weights, "precision": options.precision}
    recipe = dataclasses.replace(
        recipe, **{name: value for name, value in changes.items() if value is not None}
    )
    check_backbone(recipe.backbone)
    return recipe


def _check_data(manifest: Manifest, data_dir: str) -> None:
    train = manifest.splits.get("train")
    if train is None or train.num_examples == 0:
        raise DataError(
            f"{data_dir!r} has no train split; need labelled photos to train on; build the records "
            "again"
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
