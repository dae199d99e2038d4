"""Runs the steps before a failure again, one by one: python -m trainer.replay CAPSULE."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from tfrecords_builder import command_line
from tfrecords_builder.errors import UserError
from trainer.devices import STRATEGIES, make_strategy
from trainer.tensorflow_start import require_tensorflow
from trainer.tpu import tpu_is_near

if TYPE_CHECKING:
    import tensorflow as tf

FLAGS = flags.FLAGS

flags.DEFINE_string("data", None, "Folder with the records, if they are not where they were.")
flags.DEFINE_enum(
    "strategy", "auto", STRATEGIES, "What to run on; by default as many replicas as the run had."
)
flags.DEFINE_integer("num_devices", None, "mirrored: how many GPUs (or logical CPU devices).", 1)

_IDS_SHOWN = 5


def main(arguments: Sequence[str]) -> None:
    """Prints the loss of every step from the last good checkpoint to the failure."""
    if len(arguments) != 1:
        raise UserError(f"got {len(arguments)} arguments; need one, the folder of a capsule")
    (folder,) = arguments
    require_tensorflow()
    from tfrecords_builder.manifest import load_manifest
    from trainer.engine.capsule import read_capsule
    from trainer.engine.replaying import replay_capsule
    from trainer.errors import DataError
    from trainer.initial_weights import make_initial_weights
    from trainer.run_record import recipe_from_json

    facts = read_capsule(folder)
    data_dir = FLAGS.data or facts["data_dir"]
    manifest = load_manifest(data_dir)
    if manifest.fingerprint != facts["data_fingerprint"]:
        raise DataError(
            f"{data_dir!r} is not the data of the capsule (fingerprints differ); need the "
            "same records; name their folder with --data"
        )
    recipe = recipe_from_json(facts["recipe"])
    num_replicas = facts["num_replicas"]
    strategy = _open_strategy(num_replicas)
    if strategy.num_replicas_in_sync != num_replicas:
        print(
            f"note: {strategy.num_replicas_in_sync} replicas where the run had {num_replicas}: "
            "losses agree within rounding"
        )
    seen = replay_capsule(
        folder,
        facts,
        recipe,
        manifest,
        data_dir,
        strategy,
        make_initial_weights(recipe, manifest),
        lambda plan, step, loss: print(
            f"{plan.stage.name}: mean loss of the epoch after step {step + 1}: {loss:.6g}",
            flush=True,
        ),
    )
    if seen is None:
        print(
            f"not seen again: step {facts['batches'][-1]['step'] + 1} of stage {facts['stage']!r} "
            "went through; a device or its kernels may differ"
        )
        return
    print(
        f"seen again: mean loss of the epoch after step {seen.step + 1} of stage "
        f"{facts['stage']!r}: {seen.loss} "
        f"(recorded: {facts['loss']} after step {facts['batches'][-1]['step'] + 1})"
    )
    shown = ", ".join(seen.ids[:_IDS_SHOWN]) + (", ..." if len(seen.ids) > _IDS_SHOWN else "")
    which = "the same as" if seen.same_photos else "NOT those"
    print(f"its {len(seen.ids)} photos are {which} recorded: {shown}")


def _open_strategy(num_replicas: int) -> "tf.distribute.Strategy":
    import tensorflow as tf

    if FLAGS.strategy != "auto" or FLAGS.num_devices or tpu_is_near():
        return make_strategy(FLAGS.strategy, FLAGS.num_devices)
    if num_replicas > 1:
        return make_strategy("mirrored", num_replicas)
    return make_strategy("gpu" if tf.config.list_physical_devices("GPU") else "cpu")


if __name__ == "__main__":
    command_line.run_with_arguments(main)
