"""Trains a recipe on built records.

python -m trainer.task --data=DATA --run_dir=RUN --recipe=NAME
"""

from typing import TYPE_CHECKING

from absl import flags

from tfrecords_builder import command_line
from trainer.devices import STRATEGIES
from trainer.plan import BATCH_SCALINGS, RATE_SCALINGS
from trainer.recipe import PRECISIONS

if TYPE_CHECKING:
    from trainer.auto_submit import AutoSubmit
    from trainer.session_options import SessionOptions

FLAGS = flags.FLAGS

flags.DEFINE_string("data", None, "Folder with built records.", required=True)
flags.DEFINE_string(
    "run_dir",
    None,
    "Folder of the run; an unfinished one in it goes on. AIP_CHECKPOINT_DIR by default.",
)
flags.DEFINE_string("recipe", None, "Name of a recipe, see trainer/recipes.", required=True)
flags.DEFINE_enum("strategy", "auto", STRATEGIES, "What to train on; not there is an error.")
flags.DEFINE_integer(
    "num_devices",
    None,
    "mirrored: how many GPUs (or logical CPU devices); tpu: how many cores there must be.",
    1,
)
flags.DEFINE_string("tpu", "local", "tpu: local, a name, or grpc://HOST:PORT.")
flags.DEFINE_string(
    "weights", None, "none, imagenet, noisy-student or a path; the recipe's by default."
)
flags.DEFINE_enum("precision", None, PRECISIONS, "The recipe's by default.")
flags.DEFINE_multi_string(
    "set", [], "Change of one field, for example stages.finish.image_px=320; repeatable."
)
flags.DEFINE_integer("seed", 0, "Of order, augmentation, dropout and fresh weights.")
flags.DEFINE_enum(
    "batch_scaling", "fixed", BATCH_SCALINGS, "Keep the recipe's global batch, or one per replica."
)
flags.DEFINE_enum(
    "rate_scaling", "linear", RATE_SCALINGS, "per_replica: what the learning rate follows."
)
flags.DEFINE_bool(
    "deterministic", False, "On GPUs: only kernels that give the same bits each time; slower."
)
flags.DEFINE_enum(
    "cache", "auto", ("auto", "memory", "disk", "none"), "Where decoded photos are kept."
)
flags.DEFINE_bool("xla", None, "Compile the step with XLA; by default on GPUs only.")
flags.DEFINE_string("deadline", None, "Stop, saved, after this time from the start: 8h40m, 90m.")
flags.DEFINE_string("checkpoint_every", "10m", "Time between checkpoints.")
flags.DEFINE_integer(
    "max_rollbacks", 0, "Exploded loss: go back to the checkpoint so often, at half the rate.", 0
)
flags.DEFINE_bool(
    "rehearse", None, "Build and run each stage's steps once, first; by default not on a CPU."
)
flags.DEFINE_bool("rehearse_only", False, "Rehearse, report memory and times, and end.")
flags.DEFINE_string(
    "preview", None, "Write a PNG file of what the network sees in each stage, and end."
)
flags.DEFINE_bool("allow_changes", False, "Go on with a run although its settings differ.")
flags.DEFINE_bool("quiet", False, "Print no progress, only what was reached.")
flags.DEFINE_bool("verbose", False, "Print a line for every call of the compiled steps.")
flags.DEFINE_bool("profile", False, "Keep the profiler's trace of a few steps for TensorBoard.")
flags.DEFINE_bool("auto_submit", False, "Predict the test split and hand it in at the end.")
flags.DEFINE_string("competition", None, "auto_submit: name in the competition's address.")
flags.DEFINE_string("sample_submission", None, "auto_submit: CSV file to check ids against.")


def main() -> None:
    """Trains, or goes on training."""
    # Here and not above: --help and mistakes in flags must not wait for TensorFlow.
    from trainer.engine.stop import StopSignal, parse_duration

    stop = StopSignal(parse_duration(FLAGS.deadline) if FLAGS.deadline else None)
    stop.hold()
    from trainer.train import train

    train(session_options(), stop)


def session_options() -> "SessionOptions":
    """What the flags ask for."""
    from trainer.session_options import SessionOptions

    return SessionOptions(
        data_dir=FLAGS.data,
        run_dir=_run_dir(),
        recipe_name=FLAGS.recipe,
        overrides=tuple(FLAGS.set),
        weights=FLAGS.weights,
        precision=FLAGS.precision,
        strategy=FLAGS.strategy,
        num_devices=FLAGS.num_devices,
        tpu=FLAGS.tpu,
        seed=FLAGS.seed,
        batch_scaling=FLAGS.batch_scaling,
        cache=FLAGS.cache,
        xla=FLAGS.xla,
        deadline=FLAGS.deadline,
        checkpoint_every=FLAGS.checkpoint_every,
        max_rollbacks=FLAGS.max_rollbacks,
        rehearse=FLAGS.rehearse,
        rehearse_only=FLAGS.rehearse_only,
        preview=FLAGS.preview,
        allow_changes=FLAGS.allow_changes,
        quiet=FLAGS.quiet,
        verbose=FLAGS.verbose,
        profile=FLAGS.profile,
        auto_submit=_auto_submit(),
        rate_scaling=FLAGS.rate_scaling,
        deterministic=FLAGS.deterministic,
    )


def _run_dir() -> str:
    from trainer.errors import RunFolderError
    from trainer.vertex_environment import VertexEnvironment

    run_dir = FLAGS.run_dir or VertexEnvironment.read().checkpoint_dir
    if run_dir is None:
        raise RunFolderError(
            "--run_dir was not given; need a folder for the run; add --run_dir=RUN"
        )
    return str(run_dir)


def _auto_submit() -> "AutoSubmit | None":
    from trainer.auto_submit import AutoSubmit
    from trainer.errors import DataError

    if not FLAGS.auto_submit:
        return None
    if not FLAGS.competition:
        raise DataError(
            "--auto_submit was given without --competition; need the name in the competition's "
            "address; add --competition=NAME"
        )
    return AutoSubmit(competition=FLAGS.competition, sample_submission=FLAGS.sample_submission)


if __name__ == "__main__":
    command_line.run(main)
