"""Photos of a folder as they are, for prediction: no records are built.

Each is found and encoded by the builder, as a photo of a data set is, so the network sees the same
pixels. What cannot be used is told with its reason.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tfrecords_builder.encoding import EncodingSettings, UnusablePhotoError, encode_photo
from tfrecords_builder.errors import UserError
from tfrecords_builder.sources.photo_files import list_photo_files, read_photo_file
from trainer.input.canvases import CanvasRows
from trainer.input.decoding import UndecodableError, decode_canvas


class PhotoFolder:
    """Gathers like `Canvases`; ids are paths below the folder with forward slashes.

    Args:
        folder: local or gs://; see `list_photo_files` for what counts as a photo, and the order.
        canvas_px: side of the canvas.

    Raises:
        SourceError: no such folder, or no file in it.
    """

    dtype = np.uint8

    def __init__(self, folder: str, canvas_px: int):
        self._files = list_photo_files(folder)
        # What holds another letter than of UTF-8 cannot be written to any file, and is refused.
        names = [file.relative_path.encode("utf-8", "backslashreplace") for file in self._files]
        self.ids = [name.decode() for name in names]
        self.num_examples = len(self.ids)
        self.canvas_px = canvas_px
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
        file = self._files[index]
        reason = file.refusal
        if reason is None:
            try:
                data = read_photo_file(file.path)
                return decode_canvas(encode_photo(data, EncodingSettings()).image, self.canvas_px)
            except (UnusablePhotoError, UndecodableError) as error:
                reason = str(error)
            except (UserError, OSError) as error:
                reason = f"unreadable: {error}"
        with self._lock:
            self._unusable[index] = reason
        return np.zeros(self.row_shape, np.uint8), 1.0
