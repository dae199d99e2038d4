"""JPEG files by libjpeg-turbo: looked at, checked and decoded at a fraction of their size."""

import re

import simplejpeg
from PIL import Image

from tfrecords_builder.pixels import UnusablePixelsError

# Stray bytes before these markers lie in the header, where they hurt no pixel. Before any other
# marker they are what is left of damaged pixel data.
_HEADER_MARKERS = frozenset([0xC0, 0xC1, 0xC2, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)])
_STRAY_BYTES = re.compile(r"extraneous bytes before marker 0x([0-9a-f]{2})")
_JPEG_START = b"\xff\xd8\xff"
_START_OF_SCAN = 0xDA


def plain_header(data: bytes) -> bytes | None:
    """Returns everything before the first scan, or None where that is not plain to see."""
    position = 2
    if not data.startswith(_JPEG_START):
        return None
    while position + 4 <= len(data) and data[position] == 0xFF:
        if data[position + 1] == _START_OF_SCAN:
            return data[:position]
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def check_jpeg(data: bytes) -> list[str]:
    """Decodes a JPEG whose bytes are to be kept.

    All coded data are read, but only an eighth of the size and only the grey channel is computed:
    damage shows in the coded data, and this costs about half of a full decode.

    Returns:
      The reason to encode the photo again, where it decodes but not cleanly; else nothing.

    Raises:
      UnusablePixelsError: data are missing or damaged.
    """
    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        message = str(error)
        stray = _STRAY_BYTES.search(message)
        if "bad ICC marker" in message or (stray and int(stray[1], 16) in _HEADER_MARKERS):
            return ["damaged header"]
        raise UnusablePixelsError(f"damaged JPEG: {message}") from error
    return []


def decode_reduced(
    data: bytes, size: tuple[int, int], wanted: tuple[int, int]
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """Decodes a colour JPEG at the smallest multiple of an eighth of its size that is large enough.

    The decoder itself computes that, so that little is left for a filter: a third of the time of
    decoding it whole.

    Args:
      data: the file.
      size: its width and height in pixels.
      wanted: those that are needed at least.

    Returns:
      The image, and the part of it that is the photo: left, top, right, bottom in its pixels.

    Raises:
      ValueError: something about the file is damaged; `check_jpeg` tells what.
    """
    width, height = wanted
    pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, min_factor=1)
    # The decoder rounds its size up: the photo ends somewhere inside of the last pixel, and to take
    # that pixel for a whole one would shift everything by a part of one. The longer side tells the
    # scale: a side of a few pixels is rounded up by too large a part.
    eighths = round(8 * max(pixels.shape[:2]) / max(size))
    return Image.fromarray(pixels), (0, 0, size[0] * eighths / 8, size[1] * eighths / 8)
