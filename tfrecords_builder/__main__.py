"""Turns photos into sharded TFRecords with a manifest.

Examples:
  python -m tfrecords_builder --source=folder --images=DIR --out=DATA        # DIR/<class>/<photo>
  python -m tfrecords_builder --source=csv --images=DIR --labels=train.csv \\
      --test_images=DIR --sample_submission=FILE --out=DATA
  python -m tfrecords_builder --source=synthetic --num_images=1000 --out=DATA
"""

import os
import signal
import sys
import time
from typing import NoReturn

from absl import flags
from tqdm import tqdm

from tfrecords_builder import command_line
from tfrecords_builder.build import BuildResult, BuildSettings, build
from tfrecords_builder.encoding import EncodingSettings
from tfrecords_builder.errors import UserError
from tfrecords_builder.sources.registry import SourceOptions, make_source, source_names

FLAGS = flags.FLAGS

flags.DEFINE_enum("source", None, source_names(), "Where the photos come from.", required=True)
flags.DEFINE_string(
    "out", None, "Folder to write; new, empty or an earlier build's.", required=True
)
flags.DEFINE_string("images", None, "Folder of the photos.")
flags.DEFINE_string("labels", None, "CSV file with the class of every photo.")
flags.DEFINE_string("test_images", None, "Folder of the photos to predict.")
flags.DEFINE_string("sample_submission", None, "CSV file with the ids to predict, in order.")
flags.DEFINE_string("id_column", "Id", "Column of the CSV files that holds the photo's name.")
flags.DEFINE_string("label_column", "Category", "Column of the CSV files that holds the class.")
flags.DEFINE_enum(
    "mismatches",
    "error",
    ("error", "quarantine"),
    "What to do with ids without a photo and photos without a row.",
)
flags.DEFINE_integer("num_images", None, "Photos to render (synthetic).", lower_bound=1)
flags.DEFINE_float("val_fraction", 0.15, "Share of every class held out for validation.", 0, 0.99)
flags.DEFINE_integer("seed", 0, "Of the split, the order and the rendering.")
flags.DEFINE_integer("shard_mb", 150, "Largest size of a record file, in 10^6 bytes.", 1)
flags.DEFINE_integer("workers", os.cpu_count() or 1, "Worker processes.", lower_bound=1)
flags.DEFINE_integer("max_px", None, "Shrink photos whose longer side is longer.", lower_bound=1)
flags.DEFINE_integer("quality", 95, "JPEG quality of photos that are encoded again.", 1, 100)
flags.DEFINE_bool("verify_pixels", True, "Decode photos whose bytes are kept, to find damage.")


def main() -> None:
    """Builds the data set that the flags describe."""
    source = make_source(
        FLAGS.source,
        SourceOptions(
            images=FLAGS.images,
            labels=FLAGS.labels,
            test_images=FLAGS.test_images,
            sample_submission=FLAGS.sample_submission,
            id_column=FLAGS.id_column,
            label_column=FLAGS.label_column,
            quarantine_mismatches=FLAGS.mismatches == "quarantine",
            num_images=FLAGS.num_images,
            seed=FLAGS.seed,
        ),
    )
    settings = BuildSettings(
        out=FLAGS.out,
        val_fraction=FLAGS.val_fraction,
        seed=FLAGS.seed,
        shard_mb=FLAGS.shard_mb,
        num_workers=FLAGS.workers,
        encoding=EncodingSettings(
            max_px=FLAGS.max_px, quality=FLAGS.quality, verify_pixels=FLAGS.verify_pixels
        ),
    )
    started = time.monotonic()
    with tqdm(unit=" photos", desc="writing", disable=None, file=sys.stderr) as bar:

        def start(total: int) -> None:
            bar.reset(total)

        def show(done: int) -> None:
            bar.update(done - bar.n)

        signal.signal(signal.SIGTERM, _stop)
        result = build(source, settings, on_start=start, on_progress=show)
    print(_summary(result, settings.out, time.monotonic() - started))


class StoppedError(UserError):
    """The build was told to end before it was finished."""

    exit_code = 75


def _stop(signal_number: int, frame: object) -> NoReturn:
    raise StoppedError(
        "stopped by SIGTERM before the end; start the same command again, it goes on where it "
        "stopped"
    )


def _summary(result: BuildResult, out: str, seconds: float) -> str:
    splits = result.manifest.splits.values()
    counts = ", ".join(f"{split.num_examples} {split.name}" for split in splits)
    if result.num_shards_written == 0:
        first = f"nothing to do: {out} holds these photos already ({counts})"
    else:
        num_bytes = sum(shard.num_bytes for split in splits for shard in split.shards)
        first = (
            f"wrote {out}: {counts} photos of {len(result.manifest.classes)} classes, "
            f"{num_bytes / 1e6:.1f} MB, in {seconds:.1f} s"
        )
    return (
        f"{first}\n{result.num_converted} photos converted (see records.csv), "
        f"{result.num_quarantined} left out (see quarantine.csv)"
    )


if __name__ == "__main__":
    command_line.run(main)
