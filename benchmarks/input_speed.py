"""How many photos a second does this host decode, and gather once they are decoded?

    python benchmarks/input_speed.py --data=DATA [--image_px=224,456] [--photos=300] [--rounds=5]

First epoch: encoded photos in memory -> uint8 squares of the canvas' size, on all cores. Peers:
libjpeg-turbo decoding the whole photo and nothing else (the "decode-only limit", by simplejpeg);
Pillow with its shrinking inside of the decoder; OpenCV's own decode and area resize; TensorFlow's
decode_jpeg and resize in tf.data, without antialiasing.
Later epochs: canvases in memory -> batches at the end of the feed, for our feed, and for NumPy's
fancy indexing in the same tf.data pipeline.
Medians of interleaved rounds; ratios are the medians of each round's ratio. The last column is
photos a second of processor time, which a busy machine disturbs less.
"""

import argparse
import dataclasses
import io
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
import simplejpeg  # noqa: E402
import tensorflow as tf  # noqa: E402
from PIL import Image  # noqa: E402

Job = dict[str, Callable[[], int]]


def load_photos(data_dir: str, num_photos: int) -> list[bytes]:
    """Encoded training photos, repeated if there are fewer."""
    from tfrecords_builder.manifest import load_manifest
    from tfrecords_builder.records import read_records

    photos = [
        record.image
        for shard in load_manifest(data_dir).splits["train"].shards
        for record in read_records(Path(data_dir) / shard.file)
    ]
    return [photos[index % len(photos)] for index in range(num_photos)]


def decoding(photos: list[bytes], canvas_px: int, threads: int) -> Job:
    """Contenders of the first epoch, the limit first."""
    from trainer.input.decoding import decode_canvas

    pool = ThreadPoolExecutor(threads)
    rows = np.zeros((len(photos), canvas_px, canvas_px, 3), np.uint8)
    size = (canvas_px, canvas_px)

    def on_all(work: Callable[[bytes, np.ndarray], object]) -> Callable[[], int]:
        return lambda: len(list(pool.map(work, photos, rows)))

    def by_pillow(data: bytes, row: np.ndarray) -> None:
        with Image.open(io.BytesIO(data)) as photo:
            photo.draft("RGB", size)
            row[:] = np.asarray(photo.convert("RGB").resize(size, Image.Resampling.BILINEAR))

    def by_opencv(data: bytes, row: np.ndarray) -> None:
        photo = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        cv2.resize(photo, size, dst=row, interpolation=cv2.INTER_AREA)

    def by_tensorflow(data: tf.Tensor) -> tf.Tensor:
        photo = tf.io.decode_jpeg(data, 3)
        return tf.cast(tf.image.resize(photo, size), tf.uint8)

    pipeline = tf.data.Dataset.from_tensor_slices(photos).map(by_tensorflow, threads)

    def run_pipeline() -> int:
        return sum(int(batch.shape[0]) for batch in pipeline.batch(32))

    return {
        "libjpeg-turbo, decode only": on_all(lambda data, row: simplejpeg.decode_jpeg(data, "RGB")),
        "ours": on_all(lambda data, row: decode_canvas(data, canvas_px, row)),
        "Pillow": on_all(by_pillow),
        "OpenCV": on_all(by_opencv),
        "tf.data": run_pipeline,
    }


def gathering(data_dir: str, image_px: int, batch: int) -> Job:
    """Contenders of the later epochs, ours first."""
    from tests.trainer.making import make_recipe, make_stage
    from tfrecords_builder.manifest import load_manifest
    from trainer.input.canvases import Canvases, CanvasRows, canvas_px_of
    from trainer.input.feed import train_feed
    from trainer.order import Order
    from trainer.plan import plan_stages

    canvas_px = canvas_px_of(image_px)
    num_rows = 768 * 2**20 // (canvas_px**2 * 3)
    split = load_manifest(data_dir).splits["train"]
    canvases = Canvases(
        data_dir, dataclasses.replace(split, num_examples=num_rows), canvas_px, "memory"
    )
    canvases.fill(np.uint8(127))

    class FancyIndexing:
        num_examples = num_rows
        dtype = np.uint8
        row_shape = canvases.row_shape

        def gather(self, indices: np.ndarray, epochs: np.ndarray | None = None) -> CanvasRows:
            return CanvasRows(
                images=canvases._images[indices],
                aspects=canvases._aspects[indices],
                labels=canvases._labels[indices],
            )

    stage = make_stage(batch_size=batch, image_px=image_px, epochs=10_000)
    (plan,) = plan_stages(make_recipe(stage), num_examples=num_rows, num_replicas=1)
    order = Order(seed=0, num_examples=num_rows, batch_size=batch, num_epochs=10_000)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")

    def feed_of(examples: object) -> Callable[[], int]:
        feed = train_feed(strategy, examples, order, plan, 0, 0)

        def take() -> int:
            for _ in range(50):
                next(feed)
            return 50 * batch

        return take

    return {"ours": feed_of(canvases), "fancy indexing": feed_of(FancyIndexing())}


def measure(job: Job, num_rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(photos a second, photos a second of processor time) of each contender in each round."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in job}
    for contender in job.values():
        contender()
    for _ in range(num_rounds):
        for name, contender in job.items():
            wall, cpu = time.perf_counter(), time.process_time()
            count = contender()
            found[name].append(
                (count / (time.perf_counter() - wall), count / (time.process_time() - cpu))
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--image_px", default="224,456")
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()

    from trainer.input.canvases import canvas_px_of

    cv2.setNumThreads(1)
    threads = os.cpu_count() or 1
    photos = load_photos(flags.data, flags.photos)
    print(
        f"{threads} cores, {len(photos)} photos of {np.mean([len(p) for p in photos]):,.0f} bytes"
    )
    print(f"{'px':>4} {'':8} {'':28} {'photos/s':>9} {'over first':>10} {'/cpu s':>8}")
    for image_px in map(int, flags.image_px.split(",")):
        jobs = {
            "decode": decoding(photos, canvas_px_of(image_px), threads),
            "gather": gathering(flags.data, image_px, flags.batch),
        }
        for job_name, job in jobs.items():
            found = measure(job, flags.rounds)
            first = next(iter(found.values()))
            for name, rates in found.items():
                wall = statistics.median(rate for rate, _ in rates)
                cpu = statistics.median(rate for _, rate in rates)
                ratio = statistics.median(
                    mine / theirs for (_, mine), (_, theirs) in zip(rates, first, strict=True)
                )
                print(f"{image_px:4} {job_name:8} {name:28} {wall:9,.0f} {ratio:10.2f} {cpu:8,.0f}")


if __name__ == "__main__":
    main()
