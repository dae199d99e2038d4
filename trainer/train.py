"""One start of a run: what can be checked at once, then training, then the hand-in."""

from tfrecords_builder.manifest import Manifest, load_manifest
from trainer.auto_submit import check_auto_submit, sleep_until_told, submit_run
from trainer.engine.stop import StopSignal, parse_duration
from trainer.errors import DataError
from trainer.initial_weights import check_initial_weights
from trainer.recipe import Recipe
from trainer.session import open_session
from trainer.session_options import SessionOptions, resolve_recipe
from trainer.tensorflow_start import keep_compiled, nvidia_is_near, require_tensorflow
from trainer.tpu import require_importable, tpu_is_near


def train(options: SessionOptions, stop: StopSignal | None = None) -> None:
    """Carries out one start of a run; the user's mistakes are found before TensorFlow loads.

    Args:
        options: the flags.
        stop: made when the process began, so that all of its time is counted; it may hold SIGTERM
            back until the strategy is made.

    Raises:
        UserError: of every kind, see `trainer.errors`.
    """
    if stop is None:
        stop = StopSignal(parse_duration(options.deadline) if options.deadline else None)
    recipe = resolve_recipe(options)
    parse_duration(options.checkpoint_every)
    manifest = load_manifest(options.data_dir)
    _check_data(manifest, options.data_dir)
    check_initial_weights(recipe, options.run_dir)
    if options.auto_submit is not None:
        check_auto_submit(options.auto_submit, options.run_dir, manifest)
    if options.strategy in ("auto", "tpu") and tpu_is_near():
        require_importable()
    if options.xla or (options.xla is None and nvidia_is_near()):
        keep_compiled(options.run_dir)
    require_tensorflow()

    if options.preview is not None:
        _preview(options.preview, options, recipe, manifest)
        return
    session = open_session(options, recipe, manifest, stop)
    if session.record["finished"]:
        session.say_finished()
    elif options.rehearse_only:
        session.make_run(None).rehearse()
        return
    else:
        session.train()
    if options.auto_submit is not None:
        # All workers predict, from the published model; the chief has just written it.
        session.workers.gather(0)
        submit_run(
            options.auto_submit,
            options.run_dir,
            options.data_dir,
            session.strategy,
            sleep_until_told(stop),
        )


def _check_data(manifest: Manifest, data_dir: str) -> None:
    train = manifest.splits.get("train")
    if train is None or train.num_examples == 0:
        raise DataError(
            f"{data_dir!r} has no train split; need labelled photos to train on; build the records "
            "again"
        )


def _preview(file: str, options: SessionOptions, recipe: Recipe, manifest: Manifest) -> None:
    from trainer.report.previews import write_preview

    write_preview(file, recipe, manifest, options.data_dir, options.seed)
    print(f"what the network sees in each stage: {file}")
