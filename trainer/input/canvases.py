"""Canvases: each photo decoded once per resolution, kept, and from then on only gathered.

A canvas is the whole photo squashed with antialiasing to a uint8 square a little larger than the
stage's image; the photo's true aspect ratio stands beside it. Crops, resizes and everything else
happen on the device.
"""

import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tfrecords_builder.manifest import Split
from trainer.errors import DataError
from trainer.input.decoding import UndecodableError, decode_canvas
from trainer.input.reading import RecordReader
from trainer.input.row_buffers import RowBuffers

MARGIN = 8 / 7
"""Side of the canvas over that of the image: room for crops at full sharpness."""


@dataclass(frozen=True, slots=True)
class CanvasRows:
    """What the host ships for some examples."""

    images: np.ndarray
    """uint8 [B, S, S, 3]"""
    aspects: np.ndarray
    """float32 [B], width over height of the photo"""
    labels: np.ndarray
    """int32 [B], -1 for none"""


class Examples(Protocol):
    """What the feed reads from: canvases, kept features, or made-up ones for a rehearsal."""

    @property
    def num_examples(self) -> int:
        """How many there are."""

    @property
    def dtype(self) -> type:
        """Of what `gather` returns."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one example."""

    def gather(self, indices: np.ndarray, epochs: np.ndarray | None = None) -> CanvasRows:
        """Rows of some examples, int64 [B], as seen in these epochs, int64 [B]."""


def canvas_px_of(image_px: int) -> int:
    """Side of the canvas for a stage's image side: 8/7 of it, rounded up to a multiple of 8."""
    return math.ceil(image_px * MARGIN / 8) * 8


def canvas_bytes(num_examples: int, canvas_px: int) -> int:
    """What the canvases of so many photos take, in memory or on disk."""
    return num_examples * canvas_px**2 * 3


class Canvases:
    """The canvases of one split at one size, decoded when first asked for.

    Safe to be asked from several threads. Record indices follow the shards in the manifest's order.
    Each process decodes and keeps what it is asked for; memory and disk of other rows stay
    untouched, so that of several workers each pays for its own rows.

    Args:
        data_dir: the built folder, local or gs://.
        split: from its manifest.
        canvas_px: S.
        cache: memory | disk | none, see `trainer.input.room`, which also tells whether all canvases
            of a stage have room: a file on a full disk ends the process without a word.
        num_threads: decoding threads; the decoder lets go of the interpreter lock.
    """

    def __init__(
        self,
        data_dir: str,
        split: Split,
        canvas_px: int,
        cache: str,
        num_threads: int | None = None,
    ):
        self.num_examples = split.num_examples
        self.canvas_px = canvas_px
        self.dtype = np.uint8
        self.ids: list[str] = [""] * split.num_examples
        self._data_dir = data_dir
        self._split = split
        self._reader = RecordReader(data_dir, split)
        self._labels = np.full(split.num_examples, -1, np.int32)
        self._aspects = np.ones(split.num_examples, np.float32)
        self._filled = np.zeros(split.num_examples, bool)
        self._images = _allocate((split.num_examples, canvas_px, canvas_px, 3), cache)
        self._buffers = RowBuffers(self.row_shape)
        self._pool = ThreadPoolExecutor(num_threads or os.cpu_count(), thread_name_prefix="decode")

    @property
    def labels(self) -> np.ndarray:
        """int32 [N]; known for the records that were gathered."""
        return self._labels

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one canvas."""
        return (self.canvas_px, self.canvas_px, 3)

    @property
    def num_bytes(self) -> int:
        """Size of all canvases of the split."""
        return canvas_bytes(self.num_examples, self.canvas_px)

    def expect(self, shards: Iterable[int]) -> None:
        """Has shards of a bucket fetched ahead of their use, in this order."""
        self._reader.expect(shards)

    def expect_rows(self, first: int, last: int) -> None:
        """`expect` for the shards of records `first` to `last`, inclusive, unless all are kept."""
        if self._images is not None and self._filled[first : last + 1].all():
            return
        start, end = self._reader.shards_of(np.array([first, last]))
        self._reader.expect(range(int(start), int(end) + 1))

    def gather(self, indices: np.ndarray, epochs: np.ndarray | None = None) -> CanvasRows:
        """Returns the rows of some records, int64 [B], decoding what was not decoded yet.

        `epochs` makes no difference to canvases; what is random comes later, on the device.

        Raises:
            DataError: a record that cannot be read or decoded.
        """
        images = self._buffers.take(len(indices))
        if self._images is None:
            # Padding asks for the same photo many times.
            different, first = np.unique(indices, return_index=True)
            targets = [images[place] for place in first]
            list(self._pool.map(self._decode, different.tolist(), targets))
            for place in np.setdiff1d(np.arange(len(indices)), first):
                images[place] = images[first[np.searchsorted(different, indices[place])]]
        else:
            missing = np.unique(indices[~self._filled[indices]])
            if missing.size:
                targets = [self._images[index] for index in missing]
                list(self._pool.map(self._decode, missing.tolist(), targets))
                self._filled[missing] = True
            # mode="clip" is the one that writes into `out` without a copy of its own.
            np.take(self._images, indices, axis=0, out=images, mode="clip")
        return CanvasRows(
            images=images, aspects=self._aspects[indices], labels=self._labels[indices]
        )

    def fill(self, value: np.uint8) -> None:
        """Takes all kept canvases for decoded, of one grey: to measure what comes after."""
        assert self._images is not None, "canvases that are not kept cannot be filled"
        self._images[:] = value
        self._filled[:] = True

    def close(self) -> None:
        """Ends the threads and lets go of the memory."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._reader.close()
        self._images = None
        self._buffers.clear()

    def _decode(self, index: int, out: np.ndarray) -> None:
        record = self._reader.read(index)
        try:
            _, aspect = decode_canvas(record.image, self.canvas_px, out)
        except UndecodableError as error:
            raise DataError(
                f"photo {record.id!r} of split {self._split.name} cannot be decoded ({error}); "
                f"check the records with: python -m tfrecords_builder.verify {self._data_dir}"
            ) from error
        self.ids[index] = record.id
        self._labels[index] = record.label
        self._aspects[index] = aspect


def _allocate(shape: Sequence[int], cache: str) -> np.ndarray | None:
    if cache == "none":
        return None
    if cache == "memory":
        return np.empty(shape, np.uint8)
    # Unnamed: the space comes back when the process ends, however it ends.
    with tempfile.TemporaryFile(prefix="canvases-") as file:
        return np.asarray(np.memmap(file, np.uint8, mode="w+", shape=tuple(shape)))
