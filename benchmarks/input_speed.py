"""How many photos a second does this host decode, and gather once they are decoded?

    python benchmarks/input_speed.py --data=DATA [--image_px=224,456] [--photos=300] [--rounds=5]

First epoch: encoded photos in memory -> uint8 squares of the canvas' size, on all cores. Peers:
libjpeg-turbo decoding the whole photo and nothing else (the "decode-only limit", by simplejpeg);
Pillow with its shrinking inside of the decoder; OpenCV's own decode and area resize; TensorFlow's
decode_jpeg and resize in tf.data, without antialiasing.
Later epochs, host alone ("gather"): canvases in memory -> batches at the end of the feed, for our
feed, and for NumPy's fancy indexing in the same tf.data pipeline.
Later epochs, host and augmentation with the CPU as the device ("epoch"): crop and mirror. Ours: the
feed and the compiled augmentation. Peer: the steps of FFCV's raw mode, which keeps the pixels of
every photo as large as it is: crop, area resize, mirror, conversion, out of a memory-mapped file.
Medians of interleaved rounds; ratios are the medians of each round's ratio. The last column is
photos a second of processor time, which a busy machine disturbs less.
"""

import argparse
import dataclasses
import functools
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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


def later_epochs(
    data_dir: str, image_px: int, batch: int, raw_epoch: Callable[[], int]
) -> dict[str, Job]:
    """Contenders of the later epochs by job: the host's part, and all of it."""
    from tests.trainer.making import make_recipe, make_stage
    from tfrecords_builder.manifest import load_manifest
    from trainer.augment.batch import augment_batch
    from trainer.augment.config import Augmentation
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

    def feed_of(examples: object, consume: Callable[[Any], object], num: int) -> Callable[[], int]:
        feed = train_feed(strategy, examples, order, plan, 0, 0)

        def take() -> int:
            for _ in range(num):
                consume(next(feed))
            return num * batch

        return take

    crop_and_mirror = Augmentation(crop_area=(0.3, 1.0), mirror=0.5)

    @tf.function(autograph=False)
    def augment(batch: Any) -> tf.Tensor:
        labels = tf.zeros([tf.shape(batch.labels)[0], 1])
        return augment_batch(
            batch.canvases, batch.aspects, labels, batch.seeds, crop_and_mirror, image_px
        )[0]

    def ignore(batch: Any) -> None:
        """The host's part ends here."""

    return {
        "gather": {
            "ours": feed_of(canvases, ignore, 50),
            "fancy indexing": feed_of(FancyIndexing(), ignore, 50),
        },
        "epoch": {
            "FFCV raw, its steps": raw_epoch,
            "ours": feed_of(canvases, lambda each: augment(each)[0, 0, 0, 0].numpy(), 5),
        },
    }


class RawPhotos:
    """What FFCV's raw mode does with photos in one epoch, without its loader."""

    def __init__(self, photos: list[bytes], file: Path, image_px: int, threads: int):
        pixels = [simplejpeg.decode_jpeg(photo, "RGB") for photo in photos]
        self._shapes = [each.shape for each in pixels]
        self._starts = np.cumsum([0, *(each.size for each in pixels)])
        file.write_bytes(b"".join(each.tobytes() for each in pixels))
        self._bytes = np.memmap(file, np.uint8, "r")
        self._pool = ThreadPoolExecutor(threads)
        self._image_px = image_px

    def epoch(self, batch: int) -> int:
        """Prepares every photo once; returns how many."""
        order = np.random.default_rng(0).permutation(len(self._shapes))
        results = np.empty((batch, self._image_px, self._image_px, 3), np.float32)
        for first in range(0, len(order), batch):
            chosen = order[first : first + batch]
            list(self._pool.map(self._prepare, chosen, results))
        return len(order)

    def _prepare(self, index: int, result: np.ndarray) -> None:
        height, width, _ = shape = self._shapes[index]
        photo = self._bytes[self._starts[index] : self._starts[index + 1]].reshape(shape)
        side = (0.3 + 0.7 * ((index * 7) % 10) / 10) ** 0.5
        rows, columns = int(side * height), int(side * width)
        top, left = (height - rows) // 2, (width - columns) // 2
        crop = photo[top : top + rows, left : left + columns]
        picture = cv2.resize(crop, (self._image_px,) * 2, interpolation=cv2.INTER_AREA)
        result[:] = picture[:, ::-1] if index % 2 else picture


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
    scratch = tempfile.mkdtemp()
    for image_px in map(int, flags.image_px.split(",")):
        raw_photos = RawPhotos(photos, Path(scratch) / f"{image_px}.raw", image_px, threads)
        raw_epoch = functools.partial(raw_photos.epoch, flags.batch)
        jobs = {
            "decode": decoding(photos, canvas_px_of(image_px), threads),
            **later_epochs(flags.data, image_px, flags.batch, raw_epoch),
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
