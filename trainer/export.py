r"""Writes a finished run as files for other runtimes, and proves each of them on records.

    python -m trainer.export --run_dir=RUN --data=DATA --format=litert,onnx \
        --quantize=none,float16,int8

A file that does not answer as the run does is not kept, and the command ends with exit code 4.
See docs/export.md.
"""

import os
from pathlib import Path

from absl import flags, logging

from tfrecords_builder import command_line
from trainer.devices import make_strategy
from trainer.errors import DataError
from trainer.tensorflow_start import require_tensorflow


def define_flags() -> None:
    """Defines this command's flags; not at import, so that two commands can be imported."""
    flags.DEFINE_string("run_dir", None, "Folder of a finished run.", required=True)
    flags.DEFINE_string("data", None, "The records it was trained on.", required=True)
    flags.DEFINE_list("format", "litert", "Of saved_model, keras, litert, onnx.")
    flags.DEFINE_list("quantize", "none", "litert: of none, float16, dynamic, int8.")
    flags.DEFINE_string("out", None, "Folder for the files; by default `export` in the run's.")
    flags.DEFINE_string("split", "val", "Records that every file is proven on.")
    flags.DEFINE_integer("proof_images", None, "So many of them; by default all.", 1)
    flags.DEFINE_enum(
        "tta", "stored", ("stored", "none"), "Views of each photo: as stored, or as it is."
    )
    flags.DEFINE_string(
        "weights_file",
        "model.safetensors",
        "File of the run folder, for example weights/00-head-epoch003.safetensors.",
    )
    flags.DEFINE_bool("class_activation", True, "Write the output that shows where it looked.")
    flags.DEFINE_integer("num_threads", 1, "Of the runtimes, where latency is measured.", 1)


def main() -> None:
    """Exports as the flags say."""
    from trainer.exporting.targets import plan_targets, require_runtimes

    values = flags.FLAGS
    targets = plan_targets(values.format, values.quantize)
    require_runtimes(targets)
    out = _local_folder(values.out or os.path.join(values.run_dir, "export"))
    # TensorFlow tells every step of writing a SavedModel.
    logging.set_verbosity(logging.ERROR)
    require_tensorflow()
    from trainer.exporting.exporting import Exporter, ExportRequest
    from trainer.inference import TrainedRun

    request = ExportRequest(
        data_dir=values.data,
        out=out,
        targets=targets,
        tta=values.tta,
        split=values.split,
        proof_images=values.proof_images,
        num_threads=values.num_threads,
        with_activation=values.class_activation,
    )
    run = TrainedRun(values.run_dir, make_strategy("cpu"), values.weights_file, "float32")
    Exporter(run, request).export()
    print(f"all of it in {out}")


def _local_folder(path: str) -> Path:
    if "://" in path:
        raise DataError(
            f"the files would go to {path}; need a local folder, which other runtimes can read; "
            "name one with --out and copy it from there"
        )
    folder = Path(path).absolute()
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise DataError(
            f"the files would go to {path}, but {nearest} is no folder that can be written to; "
            "need one; name another with --out"
        )
    return Path(path)


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
