"""How large are the files of a backbone, and how fast do they answer?

    python -m benchmarks.export_sizes --backbone=EfficientNetB5 --image_px=456 --out=FOLDER

Weights are random: sizes and times do not depend on what they say. So the int8 file is not proven
here, as `trainer.export` would; it is calibrated on noise and all of its operations are int8.
"""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("backbone", "EfficientNetB5", "Which network.")
flags.DEFINE_integer("image_px", 456, "Side of the image.")
flags.DEFINE_integer("num_classes", 10, "Classes.")
flags.DEFINE_integer("num_calibration", 8, "Pictures of noise to calibrate int8 on.")
flags.DEFINE_list("kinds", "none,float16,dynamic,int8,onnx", "Which files.")
flags.DEFINE_integer("num_threads", 1, "Of the runtimes.")
flags.DEFINE_string("out", None, "Folder for the files.", required=True)


def main(_: list[str]) -> None:
    """Writes the files and prints a table."""
    from trainer.augment.config import Augmentation
    from trainer.exporting.contract import Contract, Geometry, append_contract
    from trainer.exporting.graph import PixelModel
    from trainer.exporting.litert import LiteRtWriter
    from trainer.exporting.onnx_file import onnx_model
    from trainer.exporting.plain_network import flatten
    from trainer.exporting.remedies import REMEDIES
    from trainer.exporting.runtime import run_in_own_process
    from trainer.inference_settings import InferenceSettings
    from trainer.input.canvases import canvas_px_of
    from trainer.network.build import build_network
    from trainer.recipe import Recipe, Stage

    px, out = FLAGS.image_px, Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    stage = Stage(
        name="only", image_px=px, batch_size=1, epochs=1, learning_rate=0.1, train_from="all"
    )
    recipe = Recipe(name="random", summary="random", backbone=FLAGS.backbone, stages=(stage,))
    network = flatten(build_network(recipe, FLAGS.num_classes, px).model)
    settings = InferenceSettings(weights_sha256="")
    contract = Contract(
        classes=tuple(str(number) for number in range(FLAGS.num_classes)),
        image_px=px,
        geometry=Geometry(
            resize="squash", center_fraction=1.0, pad_value=0, canvas_px=canvas_px_of(px)
        ),
        temperature=1.0,
        views=({"mirror": False, "scale": 1.0, "anchor": "center"},),
        weights_sha256="",
        run_id="random",
        recipe="random",
        backbone=FLAGS.backbone,
        format="litert",
        quantization="none",
    )
    noise = np.random.default_rng(0).integers(0, 256, (FLAGS.num_calibration, px, px, 3))
    pixels = noise.astype(np.uint8)
    writer = LiteRtWriter(PixelModel(network, Augmentation(), settings))
    print(f"{'file':24}{'MB':>8}{'ms':>9}{'load s':>8}{'peak MB':>9}{'made in s':>11}")
    for kind in FLAGS.kinds:
        started = time.monotonic()
        if kind == "onnx":
            path = out / "model.onnx"
            whole = replace(contract, format="onnx")
            model = onnx_model(network, settings, whole)
            path.write_bytes(model.SerializeToString())
        else:
            path = out / f"{kind}.tflite"
            int8 = kind == "int8"
            data = writer.quantize(REMEDIES[0], pixels) if int8 else writer.convert(kind)
            path.write_bytes(append_contract(data, replace(contract, quantization=kind)))
        secs = time.monotonic() - started
        result = run_in_own_process(path, pixels[:1], FLAGS.num_threads)
        print(
            f"{path.name:24}{path.stat().st_size / 1e6:8.1f}{result.latency_ms:9.1f}"
            f"{result.load_secs:8.2f}{result.peak_memory_mb or math.nan:9.0f}{secs:11.0f}",
            flush=True,
        )
    writer.close()


if __name__ == "__main__":
    app.run(main)
