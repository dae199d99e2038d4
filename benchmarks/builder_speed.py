"""How fast does the builder write photos, next to what else one would use?

    python benchmarks/builder_speed.py [--copies=20] [--workers=2] [--rounds=3]

Peers, each in the same round as we are: libjpeg-turbo alone decoding the same photos in as many
processes; a plain loop around `tf.io.TFRecordWriter`; `download_and_prepare` of TensorFlow
Datasets; and the steps of FFCV's image field (Pillow, OpenCV) in as many processes, without the
rest of its writer. The photos are those of CARS_MATERIAL, or rendered ones, linked `copies` times.

Photos per second of wall time suffer from other work on the machine. Photos per second of processor
time hardly do; they are printed with --workers=1, where everything happens in one process.
"""

import argparse
import functools
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from tfrecords_builder.build import BuildSettings, build  # noqa: E402
from tfrecords_builder.encoding import EncodingSettings  # noqa: E402
from tfrecords_builder.sources.folder import FolderSource  # noqa: E402
from tfrecords_builder.sources.synthetic import SyntheticSource  # noqa: E402

SHRINK_PX = 512
CHUNK_SIZE = 200


def prepare_photos(folder: Path, num_copies: int) -> int:
    """Links every photo `num_copies` times below folder/<class>/ and returns how many there are."""
    material = Path(os.environ.get("CARS_MATERIAL", REPOSITORY.parent / "shared" / "data"))
    originals = sorted((material / "cars" / "train").glob("*/*.jpg"))
    if not originals:
        source = SyntheticSource(num_images=800)
        for photo in source.list_photos().photos:
            path = folder / "rendered" / str(photo.class_name) / photo.id
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.read(photo))
            originals.append(path)
    for original in originals:
        target = folder / "photos" / original.parent.name
        target.mkdir(parents=True, exist_ok=True)
        first = target / f"0-{original.name}"
        shutil.copyfile(original, first)
        for copy in range(1, num_copies):
            os.link(first, target / f"{copy}-{original.name}")
    return len(originals) * num_copies


def time_ours(photos: Path, out: Path, num_workers: int, **encoding: object) -> float:
    """Returns the seconds of a whole build, listing and start of the workers included."""
    started = time.perf_counter()
    build(
        FolderSource(images=str(photos)),
        BuildSettings(out=str(out), num_workers=num_workers, encoding=EncodingSettings(**encoding)),
    )
    return time.perf_counter() - started


def decode_files(paths: Sequence[str]) -> None:
    """Decodes whole photos to RGB with libjpeg-turbo and does nothing else."""
    for path in paths:
        with open(path, "rb") as file:
            simplejpeg.decode_jpeg(file.read(), "RGB")


def shrink_files(paths: Sequence[str]) -> None:
    """Does what FFCV's `RGBImageField(max_resolution)` does: Pillow, area resize, OpenCV JPEG."""
    import cv2  # Only here: our own workers import this file too.

    cv2.setNumThreads(1)
    for path in paths:
        with Image.open(path) as photo:
            image = np.array(photo.convert("RGB"))
        scale = SHRINK_PX / max(image.shape[:2])
        if scale < 1:
            size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])


def time_in_processes(
    function: Callable[[Sequence[str]], None], paths: Sequence[str], num_workers: int
) -> float:
    """Returns the seconds that `num_workers` processes need for all files, start included."""
    chunks = [paths[start : start + CHUNK_SIZE] for start in range(0, len(paths), CHUNK_SIZE)]
    started = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(num_workers) as pool:
        pool.map(function, chunks, chunksize=1)
    return time.perf_counter() - started


def time_plain_loop(paths: Sequence[str], out: Path) -> float:
    """Returns the seconds of the loop that everybody writes first."""
    import tensorflow as tf

    labels = {name: index for index, name in enumerate(sorted({p.split("/")[-2] for p in paths}))}
    started = time.perf_counter()
    with tf.io.TFRecordWriter(str(out)) as writer:
        for path in paths:
            with open(path, "rb") as file:
                image = file.read()
            feature = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
                "label": tf.train.Feature(
                    int64_list=tf.train.Int64List(value=[labels[path.split("/")[-2]]])
                ),
                "id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[path.encode()])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    return time.perf_counter() - started


def time_tfds(photos: Path, out: Path) -> float:
    """Returns the seconds of `download_and_prepare` on the same folder."""
    import tensorflow_datasets as tfds

    builder = _tfds_builder_class()(data_dir=str(out), config=str(photos))
    tfds.disable_progress_bar()
    started = time.perf_counter()
    builder.download_and_prepare()
    return time.perf_counter() - started


@functools.cache
def _tfds_builder_class() -> Any:
    """Returns the class, made once: TFDS refuses two of one name."""
    import tensorflow_datasets as tfds

    class Photos(tfds.core.GeneratorBasedBuilder):
        """A folder with one folder a class; the version is all that is set."""

        VERSION = tfds.core.Version("1.0.0")

        def __init__(self, config: str, **options: Any) -> None:
            self.photos = Path(config)
            super().__init__(**options)

        def _info(self) -> Any:
            names = sorted(path.name for path in self.photos.iterdir())
            features = {
                "image": tfds.features.Image(),
                "label": tfds.features.ClassLabel(names=names),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager: object) -> dict[str, Any]:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Iterator[tuple[str, dict[str, str]]]:
            for path in self.photos.rglob("*.jpg"):
                key = f"{path.parent.name}/{path.name}"
                yield key, {"image": str(path), "label": path.parent.name}

    return Photos


def cpu_seconds() -> float:
    """Returns the processor time of this process and its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Runs all rounds and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    times: dict[str, list[float]] = {}
    cpu_times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        num_photos = prepare_photos(work, options.copies)
        photos, num_workers = work / "photos", options.workers
        paths = [str(path) for path in sorted(photos.rglob("*.jpg"))]
        runs: dict[str, Callable[[Path], float]] = {
            "ours, pixels checked": lambda out: time_ours(photos, out, num_workers),
            "libjpeg-turbo decoding alone": lambda out: time_in_processes(
                decode_files, paths, num_workers
            ),
            "ours, --noverify_pixels": lambda out: time_ours(
                photos, out, num_workers, verify_pixels=False
            ),
            "plain TFRecordWriter loop": lambda out: time_plain_loop(paths, out),
            "TFDS download_and_prepare": lambda out: time_tfds(photos, out),
            f"ours, --max_px={SHRINK_PX}": lambda out: time_ours(
                photos, out, num_workers, max_px=SHRINK_PX
            ),
            f"FFCV's steps to {SHRINK_PX} px": lambda out: time_in_processes(
                shrink_files, paths, num_workers
            ),
        }
        for round_number in range(options.rounds):
            for name, run in runs.items():
                out = work / f"out-{round_number}"
                cpu_before = cpu_seconds()
                times.setdefault(name, []).append(run(out))
                cpu_times.setdefault(name, []).append(cpu_seconds() - cpu_before)
                rate = num_photos / times[name][-1]
                print(f"round {round_number}: {name}: {rate:.0f}/s", file=sys.stderr, flush=True)
                shutil.rmtree(out, ignore_errors=True)
                out.unlink(missing_ok=True)
    print(f"{num_photos} photos, {num_workers} processes, median of {options.rounds} rounds")
    print(f"{'':32}{'photos/s':>10}" + (f"{'photos/CPU s':>14}" if num_workers == 1 else ""))
    for name, seconds in times.items():
        row = f"{name:32}{num_photos / statistics.median(seconds):10.0f}"
        if num_workers == 1:
            row += f"{num_photos / statistics.median(cpu_times[name]):14.0f}"
        print(row)


if __name__ == "__main__":
    main()
