"""One photo as found -> one photo as stored: upright, RGB, decodable by TensorFlow.

The original bytes are kept where they are right already; otherwise the photo is decoded, turned
upright, converted, shrunk and encoded as JPEG again. Every change is named.
"""

import functools
import io
import warnings
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from tfrecords_builder.boxes import BadBoxError, crop_region
from tfrecords_builder.jpeg import check_jpeg, decode_reduced, plain_header
from tfrecords_builder.pixels import UnusablePixelsError, to_rgb
from tfrecords_builder.sources.base import Box

ENCODING_VERSION = 3
"""Raise it when a photo comes out differently than before: builds made before are made again."""
KEPT = "kept"
CONVERTED = "converted"
CROPPED = "cropped to its box"
SHRUNK = "shrunk"

# What cameras, phones and the web write. Others that Pillow knows run programs (EPS) or are no
# photos; they are refused.
_FORMATS = frozenset(
    ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "TGA")
)
ORIENTATION_TAG = 0x0112
UPRIGHT = 1


class UnusablePhotoError(Exception):
    """This photo is left out; the message is the reason that `quarantine.csv` shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodingSettings:
    """What is done to every photo."""

    max_px: int | None = None
    """Longer side in pixels above which photos are shrunk; None keeps every size."""
    quality: int = 95
    """JPEG quality, 1 to 100, of photos that are encoded again."""
    verify_pixels: bool = True
    """Decode photos whose bytes are kept, to find damaged ones."""
    max_pixels: int = 100_000_000
    """Photos that declare more are left out before anything is decoded."""
    crop_margin: float | None = None
    """Crop to the photo's box, grown by this share of its sides on each side; None never crops."""
    repair_boxes: bool = False
    """Mend swapped and overhanging boxes; else their photos are left out."""

    def __post_init__(self) -> None:
        if self.crop_margin is not None and not 0 <= self.crop_margin <= 10:
            raise ValueError(f"crop_margin is {self.crop_margin}, needs 0 to 10")


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedPhoto:
    """A photo ready to be stored."""

    image: bytes
    width: int
    height: int
    fate: str
    """`KEPT` (original bytes) or `CONVERTED`."""
    changes: tuple[str, ...]
    """What was done and why; empty when kept."""


def encode_photo(data: bytes, settings: EncodingSettings, box: Box | None = None) -> EncodedPhoto:
    """Returns the photo as it is to be stored.

    `box` counts in pixels of the photo before it is turned upright; it is only used where the
    settings ask for cropping.

    Raises:
      UnusablePhotoError: it cannot be used, whatever the cause.
    """
    if not data:
        raise UnusablePhotoError("empty file")
    try:
        if box is None or settings.crop_margin is None:
            kept = _keep_plain_jpeg(data, settings)
            if kept is not None:
                return kept
        with warnings.catch_warnings():
            # Pillow warns of damaged metadata, which does not matter here, and of large sizes,
            # which are checked below.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_readable_formats()) as image:
                return _encode_open_image(image, data, settings, box)
    except UnusablePhotoError:
        raise
    except UnidentifiedImageError:
        raise UnusablePhotoError(f"not an image that can be read ({_describe(data)})") from None
    except Image.DecompressionBombError as error:
        raise UnusablePhotoError(f"declares too many pixels: {error}") from error
    except (UnusablePixelsError, BadBoxError) as error:
        raise UnusablePhotoError(str(error)) from error
    except Exception as error:
        # Decoders of damaged files raise almost anything (struct.error, IndexError, ...): each
        # is this photo's fault and none may stop the build of all the others.
        raise UnusablePhotoError(f"damaged: {type(error).__name__}: {error}") from error


def _keep_plain_jpeg(data: bytes, settings: EncodingSettings) -> EncodedPhoto | None:
    """Returns the photo if it is beyond doubt right as it is, else None: then look closely.

    This is most photos of most data sets, and saves opening them with Pillow: half of the time
    that is left without the pixel check.
    """
    header = plain_header(data)
    # Orientation can also stand in XMP.
    if header is None or b"Exif" in header or b"tiff:Orientation" in header:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    too_large = settings.max_px is not None and max(width, height) > settings.max_px
    if colours != "YCbCr" or too_large or width * height > settings.max_pixels:
        return None
    if settings.verify_pixels and check_jpeg(data):
        return None
    return EncodedPhoto(image=data, width=width, height=height, fate=KEPT, changes=())


def _encode_open_image(
    image: Image.Image, data: bytes, settings: EncodingSettings, box: Box | None
) -> EncodedPhoto:
    width, height = image.size
    if width * height > settings.max_pixels:
        raise UnusablePhotoError(
            f"declares {width} x {height} pixels, more than {settings.max_pixels}"
        )
    region = None
    changes = _needed_changes(image)
    if box is not None and settings.crop_margin is not None:
        region, repairs = crop_region(
            box, width, height, margin=settings.crop_margin, repair=settings.repair_boxes
        )
        changes += [CROPPED, *repairs]
        width, height = region[2] - region[0], region[3] - region[1]
    if settings.max_px is not None and max(width, height) > settings.max_px:
        changes.append(SHRUNK)
    # Grey and colour only: the quick decoder cannot turn CMYK into grey, Pillow checks it instead.
    checkable = _is_jpeg(image) and image.mode in ("RGB", "L") and settings.verify_pixels
    if changes == [SHRUNK] and checkable:
        stored = _shrink_jpeg(image, data, settings)
    else:
        if checkable:
            changes += check_jpeg(data)
        if not changes:
            return EncodedPhoto(image=data, width=width, height=height, fate=KEPT, changes=())
        stored = _convert(image, settings, region)
    # The same library and subsampling as Pillow's, in two thirds of its time.
    encoded = simplejpeg.encode_jpeg(np.asarray(stored), settings.quality, "RGB", "420")
    return EncodedPhoto(
        image=encoded,
        width=stored.width,
        height=stored.height,
        fate=CONVERTED,
        changes=tuple(changes),
    )


def _needed_changes(image: Image.Image) -> list[str]:
    """Names what about the file keeps its bytes from being stored."""
    changes = []
    if not _is_jpeg(image):
        changes.append(f"format {image.format}")
        if getattr(image, "is_animated", False):
            changes.append("first of several frames")
    if image.mode != "RGB":
        changes.append(f"mode {image.mode}")
    if (orientation := _orientation(image)) != UPRIGHT:
        changes.append(f"EXIF orientation {orientation}")
    return changes


def _orientation(image: Image.Image) -> int:
    """Returns how the photo is to be turned; `UPRIGHT` where nothing says so legibly."""
    try:
        orientation: int = image.getexif().get(ORIENTATION_TAG, UPRIGHT)
    except Exception:  # Whatever a parser raises for damaged metadata: the pixels may be fine.
        return UPRIGHT
    return orientation if orientation in range(2, 9) else UPRIGHT


@functools.cache
def _readable_formats() -> tuple[str, ...]:
    Image.init()  # Pillow knows only five formats until it is asked for all.
    return tuple(sorted(_FORMATS.intersection(Image.OPEN)))


def _shrink_jpeg(image: Image.Image, data: bytes, settings: EncodingSettings) -> Image.Image:
    """Returns a shrunk upright colour JPEG, checked like `check_jpeg` on the way."""
    size = _shrunk_size(image.size, settings)
    try:
        reduced, part = decode_reduced(data, image.size, size)
    except ValueError:
        check_jpeg(data)  # Raises unless only the header is at fault.
        return _convert(image, settings, None)
    return _resize(reduced, size, part)


def _convert(
    image: Image.Image, settings: EncodingSettings, region: tuple[int, int, int, int] | None
) -> Image.Image:
    """Returns the decoded photo: cropped, upright, RGB, at most `max_px` long."""
    image.load()
    upright = to_rgb(image)
    if region is not None:
        upright = upright.crop(region)
    if (orientation := _orientation(image)) != UPRIGHT:
        upright.getexif()[ORIENTATION_TAG] = orientation
        upright = ImageOps.exif_transpose(upright)
    return _shrink(upright, settings)


def _shrink(image: Image.Image, settings: EncodingSettings) -> Image.Image:
    if settings.max_px is None or max(image.size) <= settings.max_px:
        return image
    return _resize(image, _shrunk_size(image.size, settings), (0, 0, image.width, image.height))


def _resize(
    image: Image.Image, size: tuple[int, int], part: tuple[float, float, float, float]
) -> Image.Image:
    # Pillow widens the filter with the ratio, so nothing aliases, and computes with whole numbers,
    # so every machine gets the same pixels. OpenCV takes a seventh of the time, but what it gives
    # depends on the processor.
    return image.resize(size, Image.Resampling.BICUBIC, box=part, reducing_gap=3.0)


def _shrunk_size(size: tuple[int, int], settings: EncodingSettings) -> tuple[int, int]:
    assert settings.max_px is not None, "only asked for where there is a limit"
    scale = settings.max_px / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def _is_jpeg(image: Image.Image) -> bool:
    return image.format in ("JPEG", "MPO")


def _describe(data: bytes) -> str:
    start = data[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "a web page or other markup"
    return f"{len(data)} bytes starting with {data[:4]!r}"
