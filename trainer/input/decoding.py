"""One encoded photo -> one canvas: the fastest way for plain JPEG, the careful one for the rest."""

import io

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from tfrecords_builder.pixels import UnusablePixelsError, to_rgb

MAX_PIXELS = 100_000_000
"""Photos that declare more are refused before anything is decoded."""
_PLAIN_COLOURS = ("YCbCr", "Gray")
_JPEG_START = b"\xff\xd8\xff"
# A factor of 2, 4 or 8 in the decoder is vector code; its others take longer than they save.
_SMALLEST_FACTOR = 2


class UndecodableError(Exception):
    """The photo cannot be decoded; the message is the reason."""


def decode_canvas(
    encoded: bytes, canvas_px: int, out: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Decodes a photo and squashes it to a square.

    A grey or YCbCr JPEG is shrunk by 2, 4 or 8 inside of libjpeg-turbo as long as it stays at
    least as large as the canvas. What is left is linear interpolation up to a factor of 2, where
    its two taps a side see every pixel, and an average over areas beyond. All else (PNG, CMYK,
    damaged files, very long photos) goes through Pillow with a triangle filter.

    Args:
        encoded: the file's bytes; grey becomes three equal channels, 16 bits are scaled to 8,
            transparency is laid over white. An EXIF orientation is not looked at: records are
            upright.
        canvas_px: S.
        out: uint8 [S, S, 3], contiguous; where to write. None makes a new array.

    Returns:
        The canvas, uint8 [S, S, 3], and the photo's width over its height.

    Raises:
        UndecodableError: no photo, damaged, of unknown range, or of more than `MAX_PIXELS`.
    """
    if out is None:
        out = np.empty((canvas_px, canvas_px, 3), np.uint8)
    if encoded.startswith(_JPEG_START):
        aspect = _decode_plain_jpeg(encoded, canvas_px, out)
        if aspect is not None:
            return out, aspect
    return out, _decode_any(encoded, canvas_px, out)


def _decode_plain_jpeg(encoded: bytes, canvas_px: int, out: np.ndarray) -> float | None:
    """Writes the canvas; None, with anything in `out`, where Pillow must have a look."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
        if colours not in _PLAIN_COLOURS or width * height > MAX_PIXELS:
            return None
        pixels = simplejpeg.decode_jpeg(
            encoded,
            "RGB",
            min_height=canvas_px,
            min_width=canvas_px,
            min_factor=_SMALLEST_FACTOR,
            fastupsample=True,
        )
    except ValueError:
        return None
    decoded_height, decoded_width, _ = pixels.shape
    if max(decoded_height, decoded_width) <= 2 * canvas_px:
        filtering = cv2.INTER_LINEAR
    elif min(decoded_height, decoded_width) >= canvas_px:
        filtering = cv2.INTER_AREA
    else:
        return None
    cv2.resize(pixels, (canvas_px, canvas_px), dst=out, interpolation=filtering)
    return float(width / height)


def _decode_any(encoded: bytes, canvas_px: int, out: np.ndarray) -> float:
    try:
        with Image.open(io.BytesIO(encoded)) as photo:
            width, height = photo.size
            if width * height > MAX_PIXELS:
                raise UndecodableError(
                    f"declares {width} x {height} pixels, more than {MAX_PIXELS}"
                )
            photo.draft("RGB", (canvas_px, canvas_px))
            photo.load()
            rgb = to_rgb(photo)
        out[:] = np.asarray(rgb.resize((canvas_px, canvas_px), Image.Resampling.BILINEAR))
    except UndecodableError:
        raise
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        UnusablePixelsError,
    ) as error:
        raise UndecodableError(str(error)) from error
    return width / height
