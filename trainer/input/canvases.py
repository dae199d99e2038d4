"""Canvases: each photo decoded once per resolution, kept, and from then on only gathered.

A canvas is the whole photo squashed with antialiasing to a uint8 square a little larger than the
stage's image; the photo's true aspect ratio stands beside it. Crops, resizes and everything else
happen on the device.
"""

import io
import math
import os
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import psutil
from PIL import Image

from tfrecords_builder import storage
from tfrecords_builder.manifest import Split
from tfrecords_builder.records import Record, parse_example, read_frames, read_records_at
from trainer.errors import DataError

CACHES = ("auto", "memory", "disk", "none")
MARGIN = 8 / 7
"""Side of the canvas over that of the image: room for crops at full sharpness."""
_MEMORY_SHARE = 0.5


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


def choose_cache(wanted: str, num_bytes: int) -> str:
    """Resolves `auto`: in memory if it takes up to half of what is free, else in a file on disk."""
    if wanted != "auto":
        return wanted
    return "memory" if num_bytes <= _MEMORY_SHARE * psutil.virtual_memory().available else "disk"


class Canvases:
    """The canvases of one split at one size, decoded when first asked for.

    Safe to be asked from several threads. Record indices follow the shards in the manifest's order.

    Args:
        data_dir: the built folder, local or gs://.
        split: from its manifest.
        canvas_px: S.
        cache: memory | disk | none, see `choose_cache`.
        num_threads: decoding threads; Pillow lets go of the interpreter lock while it decodes.
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
        self._starts = np.cumsum([0] + [shard.num_examples for shard in split.shards])
        self._labels = np.full(split.num_examples, -1, np.int32)
        self._aspects = np.ones(split.num_examples, np.float32)
        self._filled = np.zeros(split.num_examples, bool)
        self._images = _allocate((split.num_examples, canvas_px, canvas_px, 3), cache)
        self._pool = ThreadPoolExecutor(num_threads or os.cpu_count(), thread_name_prefix="decode")
        self._remote: dict[int, list[bytes]] = {}
        self._remote_lock = threading.Lock()

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
        return self.num_examples * self.canvas_px**2 * 3

    def gather(self, indices: np.ndarray, epochs: np.ndarray | None = None) -> CanvasRows:
        """Returns the rows of some records, int64 [B], decoding what was not decoded yet.

        `epochs` makes no difference to canvases; what is random comes later, on the device.

        Raises:
            DataError: a record that cannot be read or decoded.
        """
        if self._images is None:
            decoded = list(self._pool.map(self._decode, indices.tolist()))
            images = np.stack([canvas for canvas, _ in decoded])
        else:
            missing = np.unique(indices[~self._filled[indices]])
            for index, (canvas, _) in zip(
                missing, self._pool.map(self._decode, missing.tolist()), strict=True
            ):
                self._images[index] = canvas
                self._filled[index] = True
            images = self._images[indices]
        return CanvasRows(
            images=images, aspects=self._aspects[indices], labels=self._labels[indices]
        )

    def close(self) -> None:
        """Ends the threads and lets go of the memory."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._images = None

    def _decode(self, index: int) -> tuple[np.ndarray, float]:
        record = self._read(index)
        try:
            canvas, aspect = decode_canvas(record.image, self.canvas_px)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(
                f"photo {record.id!r} of split {self._split.name} cannot be decoded ({error}); "
                f"check the records with: python -m tfrecords_builder.verify {self._data_dir}"
            ) from error
        self.ids[index] = record.id
        self._labels[index] = record.label
        self._aspects[index] = aspect
        return canvas, aspect

    def _read(self, index: int) -> Record:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        shard, row = self._split.shards[number], index - int(self._starts[number])
        path = storage.join(self._data_dir, shard.file)
        try:
            if storage.is_remote(path):
                return parse_example(self._remote_shard(number, path)[row])
            return next(read_records_at(path, shard.offsets[row : row + 1]))
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error}); copy or build the data again"
            ) from error

    def _remote_shard(self, number: int, path: str) -> list[bytes]:
        """A shard of a bucket is fetched whole, once; only the newest two are kept."""
        with self._remote_lock:
            if number not in self._remote:
                data = io.BytesIO(storage.read_bytes(path))
                self._remote = dict(list(self._remote.items())[-1:])
                self._remote[number] = [frame for _, frame in read_frames(data, path)]
            return self._remote[number]


def decode_canvas(encoded: bytes, canvas_px: int) -> tuple[np.ndarray, float]:
    """Decodes a photo and squashes it to uint8 [S, S, 3]; returns it with width over height.

    A JPEG is shrunk by a power of two inside of the decoder as long as it stays larger than the
    canvas (libjpeg's scaled DCT); the rest is an antialiased triangle filter.
    """
    with Image.open(io.BytesIO(encoded)) as photo:
        width, height = photo.size
        photo.draft("RGB", (canvas_px, canvas_px))
        canvas = photo.convert("RGB").resize((canvas_px, canvas_px), Image.Resampling.BILINEAR)
    return np.asarray(canvas), width / height


def _allocate(shape: Sequence[int], cache: str) -> np.ndarray | None:
    if cache == "none":
        return None
    if cache == "memory":
        return np.empty(shape, np.uint8)
    # Unnamed: the space comes back when the process ends, however it ends.
    with tempfile.TemporaryFile(prefix="canvases-") as file:
        return np.memmap(file, np.uint8, mode="w+", shape=tuple(shape))
