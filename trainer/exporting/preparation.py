"""A photo to the pixels that an exported file wants, as evaluation does it; needs Pillow only."""

import io
import math
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from tfrecords_builder.pixels import UnusablePixelsError, to_rgb
from trainer.exporting.contract import Contract, Geometry, PreparedPhoto

MAX_PIXELS = 100_000_000
_FORMATS = frozenset(("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"))
_ORIENTATION_TAG = 0x0112
_MOST_BARS = 32
"""Width over height, or its inverse, from which on "pad" adds no more: of a line of pixels that
declares itself a photo, bars would fill the memory."""


class PhotoError(ValueError):
    """These bytes cannot be predicted; the message is a reason that their sender may see."""


class PhotoTooLargeError(PhotoError):
    """It declares more pixels than allowed; nothing was decoded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Square:
    """`PreparedPhoto`, with an image of S x S in the place of its array."""

    image: Image.Image
    width: int
    height: int
    box: tuple[float, float, float, float]


def prepare_photo(
    encoded: bytes, contract: Contract, max_pixels: int = MAX_PIXELS
) -> PreparedPhoto:
    """`prepare_square` as an array; arguments and errors as there."""
    import numpy as np

    square = prepare_square(encoded, contract.geometry, contract.image_px, max_pixels)
    return PreparedPhoto(
        pixels=np.asarray(square.image), width=square.width, height=square.height, box=square.box
    )


def load_formats() -> tuple[str, ...]:
    """Imports Pillow's readers; returns the formats that are read."""
    # Pillow knows only five formats until it is asked for all.
    Image.init()
    return tuple(sorted(_FORMATS.intersection(Image.OPEN)))


def prepare_square(
    encoded: bytes, geometry: Geometry, image_px: int, max_pixels: int = MAX_PIXELS
) -> Square:
    """Decodes a photo of any size: upright, RGB, in the geometry of evaluation.

    Within one grey level of `trainer.augment.batch.evaluation_batch`, but for a JPEG's fine grain:
    training decodes with libjpeg-turbo's quick settings and OpenCV, this with Pillow alone.

    Safe to be called from several threads; Pillow lets go of the interpreter lock. It may warn of
    damaged metadata.

    Args:
        encoded: a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or JPEG 2000 file; of several frames the
            first counts.
        geometry: of the file that will see it.
        image_px: S.
        max_pixels: that a photo may declare.

    Raises:
        PhotoTooLargeError: it declares more; nothing was decoded.
        PhotoError: it is damaged, or no photo.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=load_formats()) as photo:
            return _prepare(photo, geometry, image_px, max_pixels)
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoTooLargeError(f"declares too many pixels: {error}") from error
    except UnidentifiedImageError:
        raise PhotoError("not an image that can be read") from None
    except UnusablePixelsError as error:
        raise PhotoError(str(error)) from error
    except Exception as error:
        # Decoders of damaged files raise almost anything (struct.error, IndexError, ...).
        raise PhotoError(f"damaged: {type(error).__name__}: {error}") from error


def _prepare(photo: Image.Image, geometry: Geometry, image_px: int, max_pixels: int) -> Square:
    width, height = photo.size
    if width * height > max_pixels:
        raise PhotoTooLargeError(f"declares {width} x {height} pixels, more than {max_pixels}")
    canvas_px = geometry.canvas_px
    photo.draft("RGB", (canvas_px, canvas_px))
    photo.load()
    # Not before: Pillow turns a TIFF upright while it loads it, and takes the tag away.
    orientation = photo.getexif().get(_ORIENTATION_TAG, 1)
    # Not through `to_rgb` where there is nothing to convert: it makes a copy, of any size.
    is_plain = photo.mode == "RGB" and "transparency" not in photo.info
    rgb = photo if is_plain else to_rgb(photo)
    canvas = rgb.resize((canvas_px, canvas_px), Image.Resampling.BILINEAR)
    if orientation in range(2, 9):
        # After the squash, when few pixels are left to be turned.
        canvas.getexif()[_ORIENTATION_TAG] = orientation
        canvas = ImageOps.exif_transpose(canvas)
    if orientation in range(5, 9):
        width, height = height, width
    aspect = width / height
    if geometry.resize == "pad":
        aspect = min(max(aspect, 1 / _MOST_BARS), _MOST_BARS)
    shares = evaluation_box(aspect, geometry)
    outside = geometry.pad_value if geometry.resize == "pad" else None
    left, top, right, bottom = shares
    return Square(
        image=_look(canvas, shares, outside, image_px),
        width=width,
        height=height,
        box=(left * width, top * height, right * width, bottom * height),
    )


def evaluation_box(aspect: float, geometry: Geometry) -> tuple[float, float, float, float]:
    """left, top, right, bottom of what evaluation shows, in shares of the photo's sides.

    `trainer.augment.geometry.evaluation_box` without TensorFlow.
    """
    across, down = {
        "squash": (1.0, 1.0),
        "center_crop": (min(1 / aspect, 1.0), min(aspect, 1.0)),
        "pad": (max(1 / aspect, 1.0), max(aspect, 1.0)),
    }[geometry.resize]
    across, down = across * geometry.center_fraction, down * geometry.center_fraction
    return (0.5 - across / 2, 0.5 - down / 2, 0.5 + across / 2, 0.5 + down / 2)


def _look(
    canvas: Image.Image,
    shares: tuple[float, float, float, float],
    outside: int | None,
    image_px: int,
) -> Image.Image:
    canvas_px = canvas.width
    pixels = canvas
    # One axis after the other: a panorama's bars are many canvases high, but only so many wide.
    for axis in (1, 0):
        low, high = shares[axis] * canvas_px, shares[axis + 2] * canvas_px
        pixels = _look_along(pixels, axis, low, high, outside, image_px)
    return pixels


def _look_along(
    pixels: Image.Image, axis: int, low: float, high: float, outside: int | None, image_px: int
) -> Image.Image:
    """Resamples columns (axis 0) or rows (axis 1) of what lies between two positions.

    `outside` is the grey level of what lies past the photo, and is mixed into its border; with None
    nothing but the photo counts.
    """
    size = [pixels.width, pixels.height]
    if outside is not None:
        reach = math.ceil(max((high - low) / image_px, 1.0))
        bars = max(0, math.ceil(-low) + reach, math.ceil(high) + reach - size[axis])
        size[axis] += 2 * bars
        padded = Image.new("RGB", (size[0], size[1]), (outside,) * 3)
        padded.paste(pixels, (bars, 0) if axis == 0 else (0, bars))
        pixels, low, high = padded, low + bars, high + bars
    box = [0.0, 0.0, float(pixels.width), float(pixels.height)]
    # Not past the border by a rounding error.
    box[axis], box[axis + 2] = max(low, 0.0), min(high, float(size[axis]))
    size[axis] = image_px
    return pixels.resize(
        (size[0], size[1]), Image.Resampling.BILINEAR, box=(box[0], box[1], box[2], box[3])
    )
