"""What does CLAHE cost on the CPU, next to OpenCV's and Keras' own?

    python benchmarks/augment_clahe.py [--image_px=456] [--batch=16] [--rounds=9] [--threads=2]

Every contender equalises the luma of the same RGB pictures (Keras' layer: each channel) with 8 x 8
tiles and clip limit 2, in the same rounds; medians, and the median of each round's ratio to
OpenCV, whose result is uint8 while the others' is float32. Memory is the growth of the peak of a
process of its own over its state before, a picture, the result included. "matrix" is the form
that accelerators run, here compiled by XLA for the CPU. The photos are those of CARS_MATERIAL, or
made noise.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2  # noqa: E402
import numpy as np  # noqa: E402

NUM_TILES = 8
CLIP_LIMIT = 2.0
SLOW = ("keras", "matrix, XLA")


def load_pictures(num: int, image_px: int) -> np.ndarray:
    """uint8 [num, image_px, image_px, 3]."""
    material = Path(os.environ.get("CARS_MATERIAL", REPOSITORY.parent / "shared" / "data"))
    paths = sorted((material / "cars" / "train").glob("*/*.jpg"))[:num]
    if not paths:
        return np.random.default_rng(0).integers(0, 256, (num, image_px, image_px, 3), np.uint8)
    pictures = [cv2.resize(cv2.imread(str(path)), (image_px, image_px)) for path in paths]
    return np.stack([pictures[index % len(pictures)][..., ::-1] for index in range(num)])


def make_contenders(pictures: np.ndarray, threads: int) -> dict[str, Callable[[], object]]:
    """Functions that equalise all pictures and return them, by name."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    import keras

    from trainer.augment.clahe import clahe

    cv2.setNumThreads(threads)
    operator = cv2.createCLAHE(CLIP_LIMIT, (NUM_TILES, NUM_TILES))
    images = tf.constant(pictures, tf.float32)
    results = np.empty_like(pictures)

    def opencv() -> np.ndarray:
        for picture, result in zip(pictures, results, strict=True):
            converted = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)
            converted[..., 0] = operator.apply(converted[..., 0])
            cv2.cvtColor(converted, cv2.COLOR_YCrCb2RGB, dst=result)
        return results

    def finished(result: tf.Tensor) -> tf.Tensor:
        result[0, 0, 0, 0].numpy()  # waits; `result.numpy()` would copy everything
        return result

    def ours(kernels: str, compiled: bool) -> Callable[[], object]:
        function = tf.function(
            lambda x: clahe(x, CLIP_LIMIT, NUM_TILES, kernels), jit_compile=compiled
        )
        return lambda: finished(function(images))

    layer = keras.layers.ContrastLimitedAdaptiveHistogramEqualization(
        value_range=(0, 255), clip_limit=CLIP_LIMIT, tile_grid_size=(NUM_TILES, NUM_TILES)
    )
    by_keras = tf.function(lambda x: layer(x, training=True))
    return {
        "opencv": opencv,
        "ours": ours("gather", False),
        "matrix, XLA": ours("matrix", True),
        "keras": lambda: finished(by_keras(images)),
    }


def peak_growth_bytes(name: str, image_px: int, batch: int, threads: int) -> int:
    """Growth of this process' peak memory by one call, the result included."""
    pictures = load_pictures(batch, image_px)
    make_contenders(pictures[:1], threads)[name]()  # libraries, graphs and thread pools
    contender = make_contenders(pictures, threads)[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    contender()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image_px", type=int, default=456)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    flags = parser.parse_args()

    memory = {}
    for name in ("opencv", "ours", "matrix, XLA", "keras"):
        # Many pictures, so that what XLA takes to compile does not count; Keras' layer cannot.
        size = 2 if name == "keras" else 64
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            growth = pool.apply(peak_growth_bytes, (name, flags.image_px, size, flags.threads))
        memory[name] = growth / size / 1e6

    pictures = load_pictures(flags.batch, flags.image_px)
    contenders = make_contenders(pictures, flags.threads)
    few = make_contenders(pictures[:2], flags.threads)
    results = {
        name: np.array((few if name == "keras" else contenders)[name]()) for name in contenders
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(flags.rounds):
        for name, contender in contenders.items():
            if name in SLOW and number >= 3:
                continue
            size = 2 if name == "keras" else flags.batch
            started = time.perf_counter()
            (few[name] if name == "keras" else contender)()
            seconds[name].append((time.perf_counter() - started) / size)

    print(
        f"{flags.image_px} px, batch {flags.batch}, {flags.threads} threads, {os.cpu_count()} cores"
    )
    print(
        f"{'':12} {'ms/picture':>10} {'of opencv':>10} {'MB/picture':>10} {'within 2 levels':>16}"
    )
    for name, measured in seconds.items():
        ratio = statistics.median(
            mine / peer for mine, peer in zip(measured, seconds["opencv"], strict=False)
        )
        difference = results[name] - results["opencv"][: len(results[name])].astype(np.float32)
        close = np.abs(difference) <= 2
        print(
            f"{name:12} {1e3 * statistics.median(measured):10.2f} {ratio:10.2f} "
            f"{memory[name]:10.1f} {100 * close.mean():15.2f}%"
        )


if __name__ == "__main__":
    main()
