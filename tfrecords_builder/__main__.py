"""Turns photos into sharded TFRecords with a manifest.

Examples:
  python -m tfrecords_builder --source=folder --images=DIR --out=DATA        # DIR/<class>/<photo>
  python -m tfrecords_builder --source=csv --images=DIR --labels=train.csv \\
      --test_images=DIR --sample_submission=FILE --out=DATA
  python -m tfrecords_builder --source=synthetic --num_images=1000 --out=DATA
"""

import functools
import os
import signal
import sys
import time
from typing import NoReturn

from absl import flags
from tqdm import tqdm

from tfrecords_builder import command_line, source_flags
from tfrecords_builder.beam_runner import RUNNERS, run_on_beam
from tfrecords_builder.build import BuildResult, BuildSettings, build
from tfrecords_builder.encoding import EncodingSettings
from tfrecords_builder.errors import UserError
from tfrecords_builder.sources.base import Source
from tfrecords_builder.splits import SplitSettings

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this command."""
    source_flags.define_source_flags()
    flags.adopt_module_key_flags(source_flags)  # So that --help shows them.
    flags.DEFINE_string("out", None, "Folder to write; new, empty or an earlier build's.")
    flags.mark_flag_as_required("out")
    flags.DEFINE_float("val_fraction", 0.15, "Share of every class to hold out.", 0, 0.99)
    flags.DEFINE_integer("num_folds", None, "Deal the photos into folds, ...", lower_bound=2)
    flags.DEFINE_integer("fold", 0, "... and hold this one out; the first is 0.", lower_bound=0)
    flags.DEFINE_string("keep_splits", None, "Data folder whose photos stay on their side.")
    flags.DEFINE_integer("shard_mb", 150, "About how large record files may get, in 10^6 bytes.", 1)
    flags.DEFINE_integer("workers", os.cpu_count() or 1, "Worker processes.", lower_bound=1)
    flags.DEFINE_enum("runner", "local", ("local", *RUNNERS), "Where the work is done.")
    flags.DEFINE_string("beam_options", "", "Further options of a Beam pipeline, in one string.")
    flags.DEFINE_integer("max_px", None, "Shrink photos whose longer side is longer.", 1)
    flags.DEFINE_integer("quality", 95, "JPEG quality of photos encoded again.", 1, 100)
    flags.DEFINE_bool("verify_pixels", True, "Decode photos whose bytes are kept.")
    flags.DEFINE_float(
        "crop_margin", None, "Crop to boxes, grown by this share of their sides.", 0, 10
    )
    flags.DEFINE_enum(
        "bad_boxes",
        "quarantine",
        ("quarantine", "clip"),
        "What to do with boxes that are swapped or leave the frame.",
    )


def main() -> None:
    """Builds the data set that the flags describe."""
    for flag, needed in {
        "fold": "num_folds",
        "bad_boxes": "crop_margin",
        "beam_options": "runner",
    }.items():
        if FLAGS[flag].present and not FLAGS[needed].present:
            raise UserError(
                f"--{flag}={FLAGS[flag].value} was given without --{needed}; give both or neither"
            )
    if FLAGS["val_fraction"].present and FLAGS.num_folds is not None:
        raise UserError(
            "--val_fraction and --num_folds were given, and a fold's share follows from their "
            "number; give one of them"
        )
    source = source_flags.source_from_flags()
    settings = BuildSettings(
        out=FLAGS.out,
        split=SplitSettings(
            val_fraction=FLAGS.val_fraction,
            seed=FLAGS.seed,
            num_folds=FLAGS.num_folds,
            fold=FLAGS.fold,
        ),
        keep_splits_of=FLAGS.keep_splits,
        shard_mb=FLAGS.shard_mb,
        num_workers=FLAGS.workers,
        encoding=EncodingSettings(
            max_px=FLAGS.max_px,
            quality=FLAGS.quality,
            verify_pixels=FLAGS.verify_pixels,
            crop_margin=FLAGS.crop_margin,
            repair_boxes=FLAGS.bad_boxes == "clip",
        ),
    )
    started = time.monotonic()
    try:
        result = _build(source, settings)
    except _TerminatedError:
        raise StoppedError(
            "stopped by SIGTERM before the end; start the same command again, it goes on where "
            "it stopped"
        ) from None
    except OSError as error:  # A full disk, a folder that must not be read or written.
        raise UserError(
            f"{error.filename or settings.out}: {error.strerror or error}; mend this and start the "
            "same command again, it goes on where it stopped"
        ) from error
    print(_summary(result, settings.out, time.monotonic() - started))


def _build(source: Source, settings: BuildSettings) -> BuildResult:
    with tqdm(unit=" photos", desc="writing", disable=None, file=sys.stderr) as bar:

        def start(total: int) -> None:
            bar.reset(total)

        def show(done: int) -> None:
            bar.update(done - bar.n)

        signal.signal(signal.SIGTERM, _terminate)
        run_tasks = None
        if FLAGS.runner != "local":
            run_tasks = functools.partial(
                run_on_beam, runner=FLAGS.runner, options=FLAGS.beam_options
            )
        return build(source, settings, on_start=start, on_progress=show, run_tasks=run_tasks)


class StoppedError(UserError):
    """The build was told to end before it was finished."""

    exit_code = 75


class _TerminatedError(BaseException):
    """SIGTERM has come. Not an Exception: a damaged photo's handler must not take it for one."""


def _terminate(signal_number: int, frame: object) -> NoReturn:
    raise _TerminatedError


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
    changes = ", ".join(f"{count} {change}" for change, count in result.changes.items())
    return (
        f"{first}\n{result.num_converted} photos converted (see records.csv)"
        f"{': ' if changes else ''}{changes}\n"
        f"{result.num_quarantined} left out (see quarantine.csv)"
    )


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
