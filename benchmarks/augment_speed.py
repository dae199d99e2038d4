"""How many pictures a second does the augmentation prepare with the CPU as the device?

    python benchmarks/augment_speed.py [--image_px=224,456] [--batch=16] [--rounds=9] [--threads=2]

Everybody starts from the same uint8 canvases in memory, an eighth larger than the picture, and
gives float32 pictures. Three jobs, each with its peers in the same rounds:
  crop: random resized crop and mirror. Peers: what FFCV's raw decoder does for each picture
    (OpenCV: crop, area resize, mirror), in as many threads, into one float32 array; and
    TensorFlow's `crop_and_resize`, which does not antialias.
  turn: mirror, rotation, shift and zoom. Peer: the four Keras layers.
  colour: brightness, contrast, saturation and hue. Peer: the four Keras layers.
Medians, and the median of each round's speed over ours.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2  # noqa: E402
import numpy as np  # noqa: E402

Job = dict[str, Callable[[], object]]


def make_jobs(image_px: int, batch: int, threads: int) -> dict[str, Job]:
    """Contenders of each job by name, ours first."""
    import keras
    import tensorflow as tf

    from trainer.augment.batch import augment_batch
    from trainer.augment.config import Augmentation

    rng = np.random.default_rng(0)
    canvas_px = image_px * 8 // 7
    canvases = rng.integers(0, 256, (batch, canvas_px, canvas_px, 3), np.uint8)
    on_device = tf.constant(canvases)
    aspect, labels = tf.ones([batch]), tf.zeros([batch, 1])
    seeds = tf.constant(rng.integers(0, 1000, (batch, 2)), tf.int32)

    def ours(**fields: object) -> Callable[[], object]:
        config = Augmentation(**fields)
        function = tf.function(lambda *parts: augment_batch(*parts, config, image_px)[0])
        return lambda: function(on_device, aspect, labels, seeds)[0, 0, 0, 0].numpy()

    def in_graph(function: Callable[[object], object]) -> Callable[[], object]:
        compiled = tf.function(function)
        return lambda: compiled(on_device)[0, 0, 0, 0].numpy()

    def by_layers(*layers: keras.Layer) -> Callable[[], object]:
        def run(images: tf.Tensor) -> tf.Tensor:
            images = tf.image.resize(images, [image_px, image_px])
            for layer in layers:
                images = layer(images, training=True)
            return images

        return in_graph(run)

    def by_tensorflow(images: tf.Tensor) -> tf.Tensor:
        side = tf.sqrt(tf.random.uniform([batch, 1], 0.3, 1.0))
        start = tf.random.uniform([batch, 2]) * (1 - side)
        boxes = tf.concat([start, start + side], axis=1)
        pictures = tf.image.crop_and_resize(images, boxes, tf.range(batch), [image_px] * 2)
        return tf.image.random_flip_left_right(pictures)

    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(threads)
    results = np.empty((batch, image_px, image_px, 3), np.float32)

    def as_ffcv(index: int) -> None:
        side = int(canvas_px * (0.3 + 0.7 * ((index * 7) % 10) / 10) ** 0.5)
        top = (canvas_px - side) // 2
        crop = canvases[index, top : top + side, top : top + side]
        size = (image_px, image_px)
        picture = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        results[index] = picture[:, ::-1] if index % 2 else picture

    layers = keras.layers
    return {
        "crop": {
            "ours": ours(crop_area=(0.3, 1.0), mirror=0.5),
            "FFCV's steps": lambda: list(pool.map(as_ffcv, range(batch))),
            "crop_and_resize": in_graph(by_tensorflow),
        },
        "turn": {
            "ours": ours(mirror=0.5, rotation_degrees=10.0, shift=0.1, zoom=0.1),
            "Keras layers": by_layers(
                layers.RandomFlip("horizontal"),
                layers.RandomRotation(10 / 360),
                layers.RandomTranslation(0.1, 0.1),
                layers.RandomZoom(0.1),
            ),
        },
        "colour": {
            "ours": ours(brightness=0.4, contrast=0.4, saturation=0.4, hue_degrees=18.0),
            "Keras layers": by_layers(
                layers.RandomBrightness(0.4, value_range=(0, 255)),
                layers.RandomContrast(0.4, value_range=(0, 255)),
                layers.RandomSaturation(0.7, value_range=(0, 255)),
                layers.RandomHue(0.05, value_range=(0, 255)),
            ),
        },
    }


def measure(job: Job, num_rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round, after one call to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in job}
    for contender in job.values():
        contender()
    for _ in range(num_rounds):
        for name, contender in job.items():
            started = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image_px", default="224,456")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    flags = parser.parse_args()

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(flags.threads)
    print(f"batch {flags.batch}, {flags.threads} threads, {os.cpu_count()} cores")
    print(f"{'px':>4} {'job':8} {'':16} {'pictures/s':>10} {'ours over it':>13}")
    for image_px in map(int, flags.image_px.split(",")):
        for job_name, job in make_jobs(image_px, flags.batch, flags.threads).items():
            seconds = measure(job, flags.rounds)
            for name, measured in seconds.items():
                speed = flags.batch / statistics.median(measured)
                ratio = statistics.median(
                    peer / mine for mine, peer in zip(seconds["ours"], measured, strict=True)
                )
                print(f"{image_px:4} {job_name:8} {name:16} {speed:10.0f} {ratio:13.2f}")


if __name__ == "__main__":
    main()
