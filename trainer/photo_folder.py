"""Photos of a folder as they are, for prediction: no records are built.

Each goes through the builder's encoding, as a photo of a data set does, so the network sees the
same pixels. What cannot be used is told with its reason.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfrecords_builder.encoding import EncodingSettings, UnusablePhotoError, encode_photo
from trainer.errors import DataError
from trainer.input.canvases import CanvasRows
from trainer.input.decoding import UndecodableError, decode_canvas


class PhotoFolder:
    """Gathers like `Canvases`; ids are paths below the folder with forward slashes, sorted.

    Args:
        folder: every file in and below it is taken for a photo, hidden ones excepted.
        canvas_px: side of the canvas.

    Raises:
        DataError: no such folder, or no file in it.
    """

    dtype = np.uint8

    def __init__(self, folder: str, canvas_px: int):
        self.ids = list_photos(folder)
        self.num_examples = len(self.ids)
        self.canvas_px = canvas_px
        self._folder = Path(folder)
        self._unusable: dict[int, str] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one canvas."""
        return (self.canvas_px, self.canvas_px, 3)

    @property
    def labels(self) -> np.ndarray:
        """int32 [N], all -1."""
        return np.full(self.num_examples, -1, np.int32)

    @property
    def unusable(self) -> dict[int, str]:
        """Why a photo cannot be used, by index; known for those that were gathered."""
        return dict(sorted(self._unusable.items()))

    def gather(self, indices: np.ndarray, epochs: np.ndarray | None = None) -> CanvasRows:
        """Returns the rows of some photos, int64 [B]; a photo that cannot be used is black."""
        # Padding asks for the same photo many times.
        different, places = np.unique(indices, return_inverse=True)
        decoded = list(self._pool.map(self._decode, different.tolist()))
        return CanvasRows(
            images=np.stack([canvas for canvas, _ in decoded])[places],
            aspects=np.array([aspect for _, aspect in decoded], np.float32)[places],
            labels=np.full(len(indices), -1, np.int32),
        )

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _decode(self, index: int) -> tuple[np.ndarray, float]:
        try:
            data = (self._folder / self.ids[index]).read_bytes()
            return decode_canvas(encode_photo(data, EncodingSettings()).image, self.canvas_px)
        except (UnusablePhotoError, UndecodableError, OSError) as error:
            reason = f"unreadable: {error}" if isinstance(error, OSError) else str(error)
            with self._lock:
                self._unusable[index] = reason
            return np.zeros(self.row_shape, np.uint8), 1.0


def list_photos(folder: str) -> list[str]:
    """Paths of all files in and below a folder, relative to it, sorted; hidden ones left out.

    Raises:
        DataError: no such folder, or no file in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(
            f"--images={folder} is not a folder; need a folder of photos; check the path"
        )
    relative = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    names = [
        path.as_posix() for path in relative if not any(part.startswith(".") for part in path.parts)
    ]
    if not names:
        raise DataError(f"--images={folder} holds no files; need photos; name another folder")
    return sorted(names)
