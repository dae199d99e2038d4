"""What does a photo cost on a TPU: the plain Keras step, and the engine's with the half frozen?

    python benchmarks/tpu_cycles.py --image_px=456 --replica_batch=32 --accelerator=v5e-8

Both steps are EfficientNet-B5 in mixed_bfloat16 for all replicas of the slice, compiled by the
real TPU compiler at full effort; the table holds its own estimate of cycles for each photo. The
Keras step trains everything and gets finished float32 pictures; the engine's is the one that runs,
augmentation and all-reduce included. No TPU is needed, but the extra `aot`, and 10 to 20 minutes
of processor time for each of the two; what was compiled once is kept.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("backbone", "EfficientNetB5", "Name in keras.applications.")
flags.DEFINE_integer("image_px", 456, "Side of the images.")
flags.DEFINE_integer("replica_batch", 32, "Photos of one replica in a step.")
flags.DEFINE_string("accelerator", "v5e-8", "What to compile for.")
flags.DEFINE_string("train_from", "block5a", "First trained block of the engine's step.")
flags.DEFINE_bool("low_effort", False, "Only to try it out: such cycles mean nothing.")
flags.DEFINE_string("lower_keras", None, "Internal: write the Keras step here and end.")

NUM_CLASSES = 10


def main(argv: list[str]) -> None:
    """Prints the table."""
    del argv
    if FLAGS.lower_keras:
        Path(FLAGS.lower_keras).write_bytes(_lower_keras())
        return
    from trainer.lowering.processes import CompilerProcesses
    from trainer.lowering.program_report import OutOfMemory
    from trainer.lowering.topologies import load_topology

    topology = load_topology(FLAGS.accelerator)
    processes = CompilerProcesses()
    print(
        f"{FLAGS.backbone}, {FLAGS.image_px} px, {FLAGS.replica_batch} photos a replica, "
        f"{topology.name}\n{'step':<34}{'kcycles':>10}{'GFLOP':>9}{'MB':>9}{'GiB':>7}{'/ Keras':>9}"
        f"\n{'':<34}{'a photo':>10}{'a photo':>9}{'a photo':>9}"
    )
    peer = None
    for name, module in (
        ("Keras, everything trained", _keras_module()),
        (f"engine, trained from {FLAGS.train_from}", processes.lower(_request())),
    ):
        result = processes.compile(module, topology, low_effort=FLAGS.low_effort)
        if isinstance(result, OutOfMemory):
            print(f"{name:<34}does not fit: {result.needed_gib} GiB needed")
            continue
        batch = FLAGS.replica_batch
        peer = peer or result.cycles
        print(
            f"{name:<34}{result.cycles / batch / 1e3:>10.0f}{result.flops / batch / 1e9:>9.1f}"
            f"{result.accessed_bytes / batch / 1e6:>9.0f}{result.peak_gib:>7.1f}"
            f"{result.cycles / peer:>9.2f}",
            flush=True,
        )


def _request():
    from trainer.lowering.lower import LoweringRequest
    from trainer.lowering.topologies import load_topology
    from trainer.recipes import load_recipe

    recipe = load_recipe("ford_vs_ferrari")
    stage = replace(
        recipe.stages[-1], name="measured", image_px=FLAGS.image_px, train_from=FLAGS.train_from
    )
    return LoweringRequest(
        recipe=replace(
            recipe, backbone=FLAGS.backbone, stages=(stage,), precision="mixed_bfloat16"
        ),
        stage="measured",
        num_examples=10_000,
        num_classes=NUM_CLASSES,
        num_replicas=load_topology(FLAGS.accelerator).num_replicas,
        replica_batch=FLAGS.replica_batch,
    )


def _keras_module() -> bytes:
    """Lowered by a process of its own, whose memory comes back before the compiler starts."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "keras.mlir")
        own = [
            f"--{name}={FLAGS[name].value}" for name in ("backbone", "image_px", "replica_batch")
        ]
        subprocess.run(
            [sys.executable, __file__, *own, f"--lower_keras={out}"],
            check=True,
        )
        return Path(out).read_bytes()


def _lower_keras() -> bytes:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    from trainer.lowering.lower import stablehlo_of
    from trainer.lowering.replica_strategy import OneOfManyReplicas
    from trainer.lowering.topologies import load_topology

    px, batch = FLAGS.image_px, FLAGS.replica_batch
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    strategy = OneOfManyReplicas(load_topology(FLAGS.accelerator).num_replicas)
    with strategy.scope():
        model = getattr(keras.applications, FLAGS.backbone)(
            weights=None, classes=NUM_CLASSES, input_shape=(px, px, 3), classifier_activation=None
        )
        optimizer = keras.optimizers.AdamW(1e-3)
        optimizer.build(model.trainable_variables)

    def replica_step(images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = tf.cast(model(images, training=True), tf.float32)
            losses = keras.losses.categorical_crossentropy(labels, logits, from_logits=True)
            loss = tf.reduce_mean(losses) / strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, model.trainable_variables)
        # Keras sums over the replicas by itself.
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    def step(images: tf.Tensor, labels: tf.Tensor) -> None:
        strategy.run(replica_step, args=(images, labels))

    return stablehlo_of(
        step,
        tf.TensorSpec((batch, px, px, 3), tf.float32),
        tf.TensorSpec((batch, NUM_CLASSES), tf.float32),
    )


if __name__ == "__main__":
    app.run(main)
