"""Records of a split by their index: read where they lie, or from shards fetched from a bucket.

A local record is read at its offset. A bucket's shards are fetched whole, several at a time and
ahead of use, into files without a name; the oldest make room when a bound is reached.
"""

import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import BinaryIO

import numpy as np

from tfrecords_builder import storage
from tfrecords_builder.errors import UserError
from tfrecords_builder.manifest import Shard, Split
from tfrecords_builder.records import (
    Record,
    RecordError,
    parse_example,
    read_frame_at,
    read_records_at,
)
from trainer.errors import DataError
from trainer.order import WHOLE_ORDER_BYTES, WINDOW_BYTES

NUM_FETCHES = 8
"""Shards that come from a bucket at the same time: one connection alone is slow."""


class RecordReader:
    """Reads records by their index in the split; safe from several threads.

    Args:
        data_dir: the built folder, local or gs://.
        split: from its manifest.
        max_fetched_bytes: bound on what is kept of a bucket's shards. By default all of a split
            that is permuted whole, else two windows, see `trainer.order`. One shard more than that
            can be there while it arrives.
    """

    def __init__(self, data_dir: str, split: Split, max_fetched_bytes: int | None = None):
        self._data_dir = data_dir
        self._split = split
        self._starts = np.cumsum([0] + [shard.num_examples for shard in split.shards])
        self._fetched: FetchedShards | None = None
        self._expects_all = False
        if storage.is_remote(data_dir):
            limit = max_fetched_bytes or fetched_bytes_limit(split)
            self._fetched = FetchedShards(data_dir, split.shards, limit)
            self._expects_all = sum(shard.num_bytes for shard in split.shards) <= limit

    def shards_of(self, indices: np.ndarray) -> np.ndarray:
        """Number of the shard that holds each record, int64 [B]."""
        return np.searchsorted(self._starts, indices, side="right") - 1

    def expect(self, shards: Iterable[int]) -> None:
        """Fetches these shards in the background, in this order; nothing to do for local ones.

        Where nobody announces anything, the first read has all shards fetched if they fit.
        """
        self._expects_all = False
        if self._fetched is not None:
            self._fetched.expect(shards)

    def read(self, index: int) -> Record:
        """Returns one record, its checksums checked.

        Raises:
            DataError: the shard cannot be read.
            RecordError: it is damaged.
        """
        number = int(self.shards_of(np.array([index]))[0])
        shard, row = self._split.shards[number], index - int(self._starts[number])
        path = storage.join(self._data_dir, shard.file)
        if self._expects_all:
            self.expect(range(len(self._split.shards)))
        try:
            if self._fetched is None:
                return next(read_records_at(path, shard.offsets[row : row + 1]))
            return parse_example(self._fetched.read_frame(number, shard.offsets[row]))
        except RecordError:
            raise
        except (OSError, UserError) as error:
            raise DataError(
                f"{path} cannot be read ({error}); copy or build the data again"
            ) from error

    def close(self) -> None:
        """Lets go of fetched shards."""
        if self._fetched is not None:
            self._fetched.close()


def fetched_bytes_limit(split: Split) -> int:
    """Bytes of a bucket's shards that are kept: all that is permuted whole, or two windows."""
    total = sum(shard.num_bytes for shard in split.shards)
    if total <= WHOLE_ORDER_BYTES:
        return max(1, total)
    return max(2 * WINDOW_BYTES, 2 * max(shard.num_bytes for shard in split.shards))


class FetchedShards:
    """A bounded store of a bucket's shards on the local disk.

    Args:
        data_dir: gs://...
        shards: of one split.
        max_bytes: a shard that would exceed it waits until older ones are gone.
        fetch: path and an open file to write to; the Cloud Storage client by default.
    """

    def __init__(
        self,
        data_dir: str,
        shards: tuple[Shard, ...],
        max_bytes: int,
        fetch: Callable[[str, BinaryIO], None] | None = None,
    ):
        self._data_dir = data_dir
        self._shards = shards
        self._max_bytes = max_bytes
        self._fetch = fetch or _download
        self._lock = threading.Lock()
        # In the order in which they were last wanted, the oldest first.
        self._files: dict[int, Future[BinaryIO]] = {}
        self._num_bytes = 0
        self._announced = False
        self._pool = ThreadPoolExecutor(NUM_FETCHES, thread_name_prefix="fetch")

    @property
    def num_bytes(self) -> int:
        """Of the shards that are here or on their way."""
        return self._num_bytes

    def expect(self, shards: Iterable[int]) -> None:
        """Starts to fetch shards as far as the bound allows, and keeps them over older ones."""
        with self._lock:
            self._announced = True
            room = self._max_bytes
            for number in shards:
                room -= self._shards[number].num_bytes
                if room < 0:
                    return
                self._start(number)

    def read_frame(self, number: int, offset: int) -> bytes:
        """Data of the record at an offset of a shard, after waiting for the shard."""
        file = None
        while file is None:
            with self._lock:
                arriving = self._start(number)
                # Evaluation goes through the shards in order and announces nothing.
                if not self._announced and number + 1 < len(self._shards):
                    self._start(number + 1)
            try:
                file = arriving.result()
            except CancelledError:
                # It made room for others before its turn came: more threads than shards fit.
                continue
            except (OSError, UserError):
                with self._lock:
                    # Whoever asks next tries again.
                    if self._files.get(number) is arriving:
                        self._forget(number)
                raise
        positioned = _PositionedFile(file.fileno())
        return read_frame_at(positioned, self._shards[number].file, offset)  # type: ignore[arg-type]

    def close(self) -> None:
        """Ends fetching; the files go with their last reader."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            for number in list(self._files):
                self._forget(number)

    def _start(self, number: int) -> "Future[BinaryIO]":
        if number in self._files:
            self._files[number] = self._files.pop(number)
            return self._files[number]
        size = self._shards[number].num_bytes
        while self._files and self._num_bytes + size > self._max_bytes:
            self._forget(next(iter(self._files)))
        self._files[number] = self._pool.submit(self._bring, number)
        self._num_bytes += size
        return self._files[number]

    def _forget(self, number: int) -> None:
        # Not closed here: another thread may be reading it. The file ends with its last reference.
        self._files.pop(number).cancel()
        self._num_bytes -= self._shards[number].num_bytes

    def _bring(self, number: int) -> BinaryIO:
        file: BinaryIO = tempfile.TemporaryFile(prefix="shard-")  # noqa: SIM115
        self._fetch(storage.join(self._data_dir, self._shards[number].file), file)
        file.flush()
        return file


class _PositionedFile:
    """Reads of a shared file at a position of its own, so that threads do not move each other."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._position = 0

    def seek(self, position: int) -> None:
        self._position = position

    def read(self, num_bytes: int) -> bytes:
        data = os.pread(self._descriptor, num_bytes, self._position)
        self._position += len(data)
        return data


def _download(path: str, file: BinaryIO) -> None:
    file.write(storage.read_bytes(path))
