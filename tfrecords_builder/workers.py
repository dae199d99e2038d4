"""Runs tasks in worker processes, with progress, and stops cleanly however it is stopped."""

import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any, TypeVar

from tfrecords_builder.errors import UserError

POLL_SECS = 0.2

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerError(UserError):
    """A worker process died."""


class _StoppedError(Exception):
    """The main process asked its workers to stop."""


def run_in_workers(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    num_workers: int,
    on_progress: Callable[[int], None] = lambda num_done: None,
) -> list[Result]:
    """Returns function(task) for every task, in order, computed in worker processes.

    A single worker is this process itself: starting another would take longer than small work.

    Args:
      function: a module's function; calls `photo_done` after each of its photos.
      tasks: picklable; started in this order.
      num_workers: processes; never more than there are tasks.
      on_progress: called a few times a second with the number of photos done so far.

    Raises:
      WorkerError: a worker was killed, for example by the system when memory ran out.
    """
    if not tasks:
        return []
    if min(num_workers, len(tasks)) == 1:
        return _run_here(function, tasks, on_progress)
    # Forked from a fresh interpreter that has imported everything once: forking this process,
    # which may have threads, can deadlock, and an import in every worker takes a third of a second.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    num_done, stop = context.Value("q", 0), context.Value("b", 0, lock=False)
    watched, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        max_workers=min(num_workers, len(tasks)),
        mp_context=context,
        initializer=_start_worker,
        initargs=(num_done, stop, watched, dict(os.environ)),
    )
    try:
        futures = [pool.submit(function, task) for task in tasks]
        pending = set(futures)
        while pending:
            finished, pending = wait(pending, timeout=POLL_SECS, return_when=FIRST_COMPLETED)
            on_progress(num_done.get_obj().value)  # Whoever was killed may still hold the lock.
            for future in finished:
                future.result()
        return [future.result() for future in futures]
    except BrokenProcessPool as error:
        # The pool ends the other workers with SIGTERM, which they ignore, and waits for them: those
        # between two tasks would wait for the next one forever.
        held.close()
        raise WorkerError(
            "a worker process was killed, most likely for lack of memory; "
            "start the same command again with fewer --workers, it goes on where it stopped"
        ) from error
    finally:
        stop.value = 1
        pool.shutdown(wait=True, cancel_futures=True)
        held.close()
        watched.close()


_num_done: Any = None
_stop: Any = None
_on_photo: Callable[[], None] | None = None


def _run_here(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    on_progress: Callable[[int], None],
) -> list[Result]:
    global _on_photo
    num_done = itertools.count(1)

    def count() -> None:
        on_progress(next(num_done))

    _on_photo = count
    try:
        return [function(task) for task in tasks]
    finally:
        _on_photo = None


def photo_done() -> None:
    """Counts one photo as done; ends the task when the main process wants to stop.

    Outside of `run_in_workers` it does nothing, so that tasks can also be run directly.
    """
    if _on_photo is not None:
        _on_photo()
    if _stop is None:
        return
    if _stop.value:
        raise _StoppedError
    with _num_done.get_lock():
        _num_done.value += 1


def _start_worker(
    num_done: Any, stop: Any, watched: connection.Connection, environment: Mapping[str, str]
) -> None:
    global _num_done, _stop
    _num_done, _stop = num_done, stop
    # The server that forks the workers has the environment of the moment when it was started.
    os.environ.clear()
    os.environ.update(environment)
    # Both signals go to the whole process group; the main process decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # libtiff prints hundreds of lines about one damaged file. Exceptions travel by another way.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    threading.Thread(target=_exit_when_told, args=(watched,), daemon=True).start()


def _exit_when_told(watched: connection.Connection) -> None:
    """Ends this worker when the main process dies, however it dies, or closes its end."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel, watched])
    os._exit(1)
