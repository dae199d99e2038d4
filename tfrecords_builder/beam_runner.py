"""Writes shards with Apache Beam: the same tasks as on one machine, so the same bytes.

A shard is one element. Workers read photos and write shards and reports straight from and to the
storage, which all of them must reach: `gs://`, or one file system for the DirectRunner.
"""

import contextlib
import os
import pickle
import shlex
from collections.abc import Iterable, Iterator, Sequence

from tfrecords_builder import storage
from tfrecords_builder.build import ShardTask, write_shard_task
from tfrecords_builder.build_folder import STATE_FOLDER
from tfrecords_builder.errors import UserError

RUNNERS = ("DirectRunner", "DataflowRunner", "FlinkRunner", "SparkRunner")


class BeamError(UserError):
    """A build cannot run on Beam as asked."""


def run_on_beam(tasks: Sequence[ShardTask], *, runner: str, options: str = "") -> None:
    """Writes all shards and their reports; returns when the pipeline is done.

    Args:
      tasks: what to write.
      runner: one of `RUNNERS`.
      options: further pipeline options, as on a command line: "--project=p --region=r".

    Raises:
      BeamError: Beam is not installed, or the runner cannot reach the output.
    """
    try:
        import apache_beam as beam  # type: ignore[import-not-found,unused-ignore]
        from apache_beam.options.pipeline_options import (  # type: ignore[import-not-found,unused-ignore]
            PipelineOptions,
        )
    except ImportError as error:
        raise BeamError(
            f"--runner={runner} needs Apache Beam, which is not installed; "
            "install the extra 'beam', in an environment of its own"
        ) from error
    if runner == "DataflowRunner":
        local = [task.folder for task in tasks[:1] if not storage.is_remote(task.folder)]
        if local:
            raise BeamError(
                f"--out={local[0]!r} is a local folder, which Dataflow's workers do not have; "
                "give gs://bucket/folder"
            )
    if not tasks:
        return
    pipeline_options = PipelineOptions([f"--runner={runner}", *shlex.split(options)])
    with stored(tasks) as paths, beam.Pipeline(options=pipeline_options) as pipeline:
        _ = (
            pipeline
            | "Plan" >> beam.Create(paths)
            # Else Create and the writing are fused into one step on one worker.
            | "Spread" >> beam.Reshuffle()
            | "Write" >> beam.Map(write_stored_task)
        )


@contextlib.contextmanager
def stored(tasks: Iterable[ShardTask]) -> Iterator[list[str]]:
    """Gives one file for every task, for as long as the block lasts.

    A task lists its photos, 55 bytes each once compressed, and whatever a pipeline is created from
    is part of its graph, of which Dataflow takes 10 MB: not the tasks of 200,000 photos.
    """
    paths = []
    try:
        for task in tasks:
            # Named like the temporary files that the next build removes, should this one be killed.
            name = f"{task.shard.file}.{os.getpid()}.tmp"
            path = storage.join(task.folder, STATE_FOLDER, name)
            storage.write_bytes(path, pickle.dumps(task))
            paths.append(path)
        yield paths
    finally:
        for path in paths:
            storage.remove(path)


def write_stored_task(path: str) -> None:
    """Writes the shard of one file of `stored`; runs wherever the runner puts it."""
    write_shard_task(pickle.loads(storage.read_bytes(path)))
