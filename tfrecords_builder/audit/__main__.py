"""Looks for duplicates, leaks, wrong labels and odd photos before anything is built.

Example:
  python -m tfrecords_builder.audit --source=folder --images=DIR --out=AUDIT
  python -m tfrecords_builder --source=folder --images=DIR --out=DATA \\
      --exclude=AUDIT/exclude.csv --groups=AUDIT/groups.csv
"""

import os
import sys

from absl import flags
from tqdm import tqdm

from tfrecords_builder import command_line, source_flags, storage
from tfrecords_builder.audit.audit import AuditSettings, audit
from tfrecords_builder.splits import SplitSettings

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this command."""
    source_flags.define_source_flags()
    flags.adopt_module_key_flags(source_flags)  # So that --help shows them.
    flags.DEFINE_string("out", None, "Folder for the results.", required=True)
    flags.DEFINE_float("val_fraction", 0.15, "As in the build to come.", 0, 0.99)
    flags.DEFINE_integer(
        "max_distance", 4, "Bits of 64 by which photos that look the same may differ.", 0, 16
    )
    flags.DEFINE_integer("workers", os.cpu_count() or 1, "Worker processes.", lower_bound=1)


def main() -> None:
    """Audits the source that the flags describe."""
    settings = AuditSettings(
        out=FLAGS.out,
        split=SplitSettings(val_fraction=FLAGS.val_fraction, seed=FLAGS.seed),
        max_distance=FLAGS.max_distance,
        num_workers=FLAGS.workers,
    )
    with tqdm(unit=" photos", desc="looking", disable=None, file=sys.stderr) as bar:
        summary = audit(
            source_flags.source_from_flags(),
            settings,
            on_start=bar.reset,
            on_progress=lambda done: bar.update(done - bar.n),
        )
    duplicates = summary["duplicates"]
    problems = ", ".join(f"{len(ids)} {kind}" for kind, ids in summary["problems"].items())
    print(
        f"looked at {summary['num_photos']} photos: {problems or 'no problems'}\n"
        f"{duplicates['num_groups']} groups look the same ({duplicates['num_exact']} of equal "
        f"files, {duplicates['num_across_classes']} under different labels, "
        f"{duplicates['num_across_splits']} in more than one split)\n"
        f"see {storage.join(FLAGS.out, 'audit.html')}"
    )


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
