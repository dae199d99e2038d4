"""Measures how fast this host can feed each stage of a recipe, and says what to change.

python -m trainer.input_doctor --data=DATA --recipe=NAME [--accelerator=v5e-8] [--json=FILE]
"""

import json
import os

from absl import flags

from tfrecords_builder import command_line, storage
from trainer.accelerators import ACCELERATORS
from trainer.input.room import CACHES, choose_cache

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("data", None, "Folder with built records.", required=True)
    flags.DEFINE_string("recipe", None, "Name of a recipe, see trainer/recipes.", required=True)
    flags.DEFINE_multi_string("set", [], "Change of one field of the recipe; repeatable.")
    names = [name for name, device in ACCELERATORS.items() if device.kind != "cpu"]
    flags.DEFINE_enum("accelerator", None, names, "What is to be fed; its speed is estimated.")
    flags.DEFINE_float(
        "images_per_sec", None, "What is to be fed, where you have measured it; for all stages.", 0
    )
    flags.DEFINE_enum("cache", "auto", CACHES, "Where decoded photos are kept.")
    flags.DEFINE_float("seconds", 1.0, "Time of each measurement.", 0.01)
    flags.DEFINE_string("json", None, "File for the measurements, local or gs://.")


def main() -> None:
    """Measures and reports, stage by stage."""
    # Here and not above: --help and mistakes in flags must not wait for TensorFlow.
    from tfrecords_builder.manifest import load_manifest
    from trainer.errors import DataError
    from trainer.input.canvases import canvas_bytes, canvas_px_of
    from trainer.input.diagnosis import (
        StageNeed,
        StageRates,
        diagnose,
        measurements_json,
        report_lines,
        train_images_per_sec,
    )
    from trainer.network.backbones import check_backbone
    from trainer.overrides import apply_overrides
    from trainer.recipes import load_recipe

    recipe = apply_overrides(load_recipe(FLAGS.recipe), tuple(FLAGS.set))
    check_backbone(recipe.backbone)
    manifest = load_manifest(FLAGS.data)
    train = manifest.splits.get("train")
    if train is None or train.num_examples == 0:
        raise DataError(
            f"{FLAGS.data!r} has no train split; need labelled photos; build the records again"
        )
    num_examples = sum(
        manifest.splits[name].num_examples for name in ("train", "val") if name in manifest.splits
    )
    if FLAGS.json:
        storage.make_folder_of(FLAGS.json)
    from trainer.tensorflow_start import require_tensorflow

    require_tensorflow()
    from trainer.input.measuring import HostMeter
    from trainer.input.work import stage_macs

    num_cores = os.cpu_count() or 1
    meter = HostMeter(FLAGS.data, train, recipe, FLAGS.seconds)
    print(f"{num_cores} cores; {num_examples} photos to train on and to validate with")
    if FLAGS.accelerator and FLAGS.images_per_sec is None:
        print(f"{FLAGS.accelerator}: its speed is an estimate; --images_per_sec takes a measured")
    measured: list[StageRates] = []
    for stage in recipe.stages:
        canvas_px = canvas_px_of(stage.image_px)
        num_bytes = canvas_bytes(num_examples, canvas_px)
        wanted = FLAGS.images_per_sec
        if wanted is None and FLAGS.accelerator:
            macs = stage_macs(recipe, stage, len(manifest.classes))
            wanted = train_images_per_sec(FLAGS.accelerator, *macs)
        need = StageNeed(
            num_examples=num_examples,
            canvas_bytes=canvas_bytes(1, canvas_px),
            cache=choose_cache(FLAGS.cache, num_bytes),
            images_per_sec=wanted,
            device_is_here=meter.has_accelerator,
        )
        rates = meter.measure(stage)
        measured.append(rates)
        diagnosis = diagnose(rates, need, num_cores)
        print("\n".join(report_lines(rates, need, diagnosis)), flush=True)
    if FLAGS.json:
        text = json.dumps(measurements_json(num_cores, tuple(measured)), indent=1) + "\n"
        storage.write_bytes(FLAGS.json, text.encode())


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
