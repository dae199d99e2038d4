"""Runs the shards of a plan in worker processes, with progress, and stops cleanly."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from tfrecords_builder.build_folder import BuildFolder
from tfrecords_builder.encoding import EncodingSettings
from tfrecords_builder.errors import UserError
from tfrecords_builder.plan import ShardPlan
from tfrecords_builder.shard_writer import write_shard
from tfrecords_builder.sources.base import Source

POLL_SECS = 0.2


class WorkerError(UserError):
    """A worker process died."""


class _StoppedError(Exception):
    """The main process asked its workers to stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """One shard to write; travels to a worker."""

    shard: ShardPlan
    input_hash: str
    folder: str
    source: Source
    encoding: EncodingSettings


def run_shards(
    tasks: Sequence[ShardTask], *, num_workers: int, on_progress: Callable[[int], None]
) -> None:
    """Writes all shards and their reports.

    Args:
      tasks: what to write, in any order.
      num_workers: processes; never more than there are tasks.
      on_progress: called a few times a second with the number of photos done so far.

    Raises:
      WorkerError: a worker was killed, for example by the system when memory ran out.
    """
    if not tasks:
        return
    # Fresh interpreters: forking a process that has threads can deadlock.
    context = multiprocessing.get_context("spawn")
    num_done, stop = context.Value("q", 0), context.Value("b", 0, lock=False)
    pool = ProcessPoolExecutor(
        max_workers=min(num_workers, len(tasks)),
        mp_context=context,
        initializer=_start_worker,
        initargs=(num_done, stop),
    )
    try:
        # The largest first, so that no worker starts a long shard when the others are done.
        ordered = sorted(tasks, key=lambda task: -len(task.shard.photos))
        pending = {pool.submit(_run_task, task) for task in ordered}
        while pending:
            finished, pending = wait(pending, timeout=POLL_SECS, return_when=FIRST_COMPLETED)
            on_progress(num_done.value)
            for future in finished:
                future.result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process was killed, most likely for lack of memory; "
            "start the same command again with fewer --workers, it goes on where it stopped"
        ) from error
    finally:
        stop.value = 1
        pool.shutdown(wait=True, cancel_futures=True)


_num_done: Any = None
_stop: Any = None


def _start_worker(num_done: Any, stop: Any) -> None:
    global _num_done, _stop
    _num_done, _stop = num_done, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # libtiff prints hundreds of lines about one damaged file. Exceptions travel by another way.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Ends this worker when the main process dies, however it dies."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _run_task(task: ShardTask) -> None:
    folder = BuildFolder(task.folder)

    def count(_: bool) -> None:
        if _stop.value:
            raise _StoppedError
        with _num_done.get_lock():
            _num_done.value += 1

    report = write_shard(
        task.shard,
        folder.file(task.shard.file),
        source=task.source,
        settings=task.encoding,
        input_hash=task.input_hash,
        on_photo=count,
    )
    folder.write_report(report)
