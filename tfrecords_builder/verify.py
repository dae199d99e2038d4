"""Checks a built data folder: python -m tfrecords_builder.verify DATA

Every byte of every record file is read: size, SHA-256, checksums, positions, labels, ids and
pixels must be what the manifest says. Problems are listed, one a line; the exit code is then 2.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from absl import flags
from tqdm import tqdm

from tfrecords_builder import command_line, storage
from tfrecords_builder.build_folder import sha256_of
from tfrecords_builder.encoding import KEPT, EncodingSettings, UnusablePhotoError, encode_photo
from tfrecords_builder.errors import UserError
from tfrecords_builder.manifest import Manifest, Shard, fingerprint_of, load_manifest
from tfrecords_builder.records import NO_LABEL, Record, RecordError, parse_example, read_frames
from tfrecords_builder.tfds_metadata import tfds_files
from tfrecords_builder.workers import photo_done, run_in_workers


class VerifyError(UserError):
    """A data folder is not what its manifest says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """One record file to check; travels to a worker."""

    path: str
    shard: Shard
    num_classes: int
    labelled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardFindings:
    """What was found in one record file."""

    problems: tuple[str, ...]
    ids: tuple[str, ...]
    class_counts: tuple[int, ...]


def find_problems(
    data_dir: str,
    *,
    num_workers: int = 1,
    on_start: Callable[[int], None] = lambda total: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Returns everything that is wrong with a data folder, one line each; empty if nothing is.

    Raises:
      ManifestError: there is no manifest to check against.
    """
    manifest = load_manifest(data_dir)
    on_start(sum(split.num_examples for split in manifest.splits.values()))
    tasks = [
        ShardTask(
            path=storage.join(data_dir, shard.file),
            shard=shard,
            num_classes=len(manifest.classes),
            labelled=split.labelled,
        )
        for split in manifest.splits.values()
        for shard in split.shards
    ]
    findings = run_in_workers(check_shard, tasks, num_workers=num_workers, on_progress=on_progress)
    problems = [problem for found in findings for problem in found.problems]
    problems += _check_counts(manifest, findings)
    problems += _check_ids(findings)
    problems += _check_metadata(data_dir, manifest)
    return problems


def check_shard(task: ShardTask) -> ShardFindings:
    """Reads one record file to its last byte and compares it with the manifest."""
    name = task.shard.file
    try:
        with storage.local_copy(task.path) as path:
            return _check_local_shard(task, path)
    except (OSError, RecordError) as error:
        return ShardFindings(problems=(f"{name}: {error}",), ids=(), class_counts=())


def _check_local_shard(task: ShardTask, path: str) -> ShardFindings:
    shard, name = task.shard, task.shard.file
    problems: list[str] = []
    offsets: list[int] = []
    ids: list[str] = []
    labels: Counter[int] = Counter()
    size = os.path.getsize(path)
    if size != shard.num_bytes:
        problems.append(f"{name}: {size} bytes where the manifest says {shard.num_bytes}")
    if sha256_of(path) != shard.sha256:
        problems.append(f"{name}: SHA-256 differs from the manifest")
    try:
        with open(path, "rb") as file:
            for offset, data in read_frames(file, name):
                record = parse_example(data)
                offsets.append(offset)
                ids.append(record.id)
                labels[record.label] += 1
                problems += [f"{name}: {problem}" for problem in _check_record(record, task)]
                photo_done()
    except RecordError as error:
        problems.append(str(error))
        return ShardFindings(problems=tuple(problems), ids=(), class_counts=())
    if tuple(offsets) != shard.offsets:
        problems.append(f"{name}: records lie elsewhere than the manifest says")
    return ShardFindings(
        problems=tuple(problems),
        ids=tuple(ids),
        class_counts=tuple(labels[label] for label in range(task.num_classes)),
    )


def _check_record(record: Record, task: ShardTask) -> list[str]:
    problems = []
    expected = range(task.num_classes) if task.labelled else range(NO_LABEL, task.num_classes)
    if record.label not in expected:
        problems.append(f"{record.id!r} has label {record.label}")
    try:
        if encode_photo(record.image, EncodingSettings()).fate != KEPT:
            problems.append(f"{record.id!r} is no upright RGB JPEG")
    except UnusablePhotoError as error:
        problems.append(f"{record.id!r}: {error}")
    return problems


def _check_counts(manifest: Manifest, findings: Sequence[ShardFindings]) -> list[str]:
    problems = []
    remaining = iter(findings)
    for split in manifest.splits.values():
        of_split = [next(remaining) for _ in split.shards]
        if not all(found.class_counts for found in of_split):
            continue  # A file that could not be read was reported already.
        counts = tuple(
            sum(column) for column in zip(*(found.class_counts for found in of_split), strict=True)
        )
        num_examples = sum(len(found.ids) for found in of_split)
        if counts != split.class_counts or num_examples != split.num_examples:
            problems.append(f"split {split.name}: counts differ from the manifest")
    if fingerprint_of(manifest.classes, manifest.splits) != manifest.fingerprint:
        problems.append("manifest.json: the fingerprint does not fit classes and hashes")
    return problems


def _check_ids(findings: Sequence[ShardFindings]) -> list[str]:
    counts = Counter(name for found in findings for name in found.ids)
    return [f"id {name!r} is in {count} records" for name, count in counts.items() if count > 1]


def _check_metadata(data_dir: str, manifest: Manifest) -> list[str]:
    problems = []
    for name, text in tfds_files(manifest).items():
        try:
            found = storage.read_bytes(storage.join(data_dir, name))
        except FileNotFoundError:
            problems.append(f"{name} is missing")
        else:
            if found != text.encode():
                problems.append(f"{name} does not fit the manifest")
    return problems


FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this command."""
    flags.DEFINE_string("data", None, "Data folder to check; may also stand alone.")
    flags.DEFINE_integer("workers", os.cpu_count() or 1, "Worker processes.", lower_bound=1)


def main(arguments: Sequence[str]) -> None:
    """Checks the folder that `--data` or the only argument names.

    Raises:
      VerifyError: something is wrong with it, or no folder or more than one was named.
    """
    folders = [*([FLAGS.data] if FLAGS.data else []), *arguments]
    if len(folders) != 1:
        raise VerifyError(
            f"{len(folders)} data folders were given ({', '.join(folders) or 'none'}), needs one; "
            "write: python -m tfrecords_builder.verify DATA"
        )
    (data_dir,) = folders
    with tqdm(unit=" photos", desc="checking", disable=None, file=sys.stderr) as bar:
        problems = find_problems(
            data_dir,
            num_workers=FLAGS.workers,
            on_start=bar.reset,
            on_progress=lambda done: bar.update(done - bar.n),
        )
    for problem in problems:
        print(problem)
    if problems:
        raise VerifyError(
            f"{data_dir}: {len(problems)} problems; delete the record files named above and build "
            "again with the command that made them, but without --noverify_pixels: what is missing "
            "is made again"
        )
    splits = load_manifest(data_dir).splits.values()
    num_examples = sum(split.num_examples for split in splits)
    num_shards = sum(len(split.shards) for split in splits)
    print(f"{data_dir}: all {num_examples} photos in {num_shards} files are as written")


if __name__ == "__main__":
    define_flags()
    command_line.run_with_arguments(main)
