"""What one photo is: its facts, its problems, its fingerprints."""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from tfrecords_builder.encoding import EncodingSettings, UnusablePhotoError, encode_photo

TINY_PX = 64
GIANT_PX = 8000
THUMBNAIL_PX = 112
# JPEG noise moves the channels of a grey photo apart by a few levels.
_GREY_TOLERANCE = 6
_HASH_PX = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoFacts:
    """Everything the audit knows about one photo."""

    id: str
    class_name: str | None
    split: str
    sha256: str | None = None
    """Of the file; None where it could not be read."""
    perceptual_hash: int | None = None
    """64 bits that are nearly the same for photos that look the same; None for broken ones."""
    width: int = 0
    height: int = 0
    problems: tuple[str, ...] = ()
    """Kinds: broken, tiny, giant, grey, cmyk, exif-rotated, format, other mode."""
    detail: str = ""
    """Why a broken photo is broken."""


def inspect_photo(data: bytes, *, photo_id: str, class_name: str | None, split: str) -> PhotoFacts:
    """Returns the facts of one photo; never raises for its content."""
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        encoded = encode_photo(data, EncodingSettings(max_px=None))
    except UnusablePhotoError as error:
        return PhotoFacts(
            id=photo_id,
            class_name=class_name,
            split=split,
            sha256=sha256,
            problems=("broken",),
            detail=str(error),
        )
    small = _decode(encoded.image, _HASH_PX)
    problems = [_kind_of_change(change) for change in encoded.changes]
    if min(encoded.width, encoded.height) < TINY_PX:
        problems.append("tiny")
    if max(encoded.width, encoded.height) > GIANT_PX:
        problems.append("giant")
    if "grey" not in problems and _is_grey(small):
        problems.append("grey")
    return PhotoFacts(
        id=photo_id,
        class_name=class_name,
        split=split,
        sha256=sha256,
        perceptual_hash=perceptual_hash(small),
        width=encoded.width,
        height=encoded.height,
        problems=tuple(dict.fromkeys(problems)),
    )


def perceptual_hash(image: Image.Image) -> int:
    """Returns the 64-bit DCT hash of ImageHash (http://www.phash.org), as one number."""
    import imagehash  # Only in the workers: it brings SciPy along.

    bits = imagehash.phash(image).hash.flatten()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def make_thumbnail(data: bytes) -> bytes | None:
    """Returns a small upright JPEG, or None for a broken photo."""
    try:
        encoded = encode_photo(data, EncodingSettings(verify_pixels=False))
    except UnusablePhotoError:
        return None
    try:
        small = _decode(encoded.image, THUMBNAIL_PX)
    except ValueError:
        return None
    thumbnail = io.BytesIO()
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    small.save(thumbnail, "JPEG", quality=75)
    return thumbnail.getvalue()


def _decode(jpeg: bytes, min_px: int) -> Image.Image:
    """Returns a photo as encoding gave it, shrunk by the decoder to no less than `min_px`.

    By the decoder that encoding trusts: Pillow refuses some headers that hurt no pixel.

    Raises:
      ValueError: it is damaged.
    """
    return Image.fromarray(
        simplejpeg.decode_jpeg(jpeg, "RGB", min_height=min_px, min_width=min_px, min_factor=1)
    )


def _kind_of_change(change: str) -> str:
    if change.startswith("EXIF"):
        return "exif-rotated"
    kinds = {"mode CMYK": "cmyk", "mode L": "grey", "mode LA": "grey", "mode 1": "grey"}
    if change.startswith("mode"):
        return kinds.get(change, "other mode")
    return "format" if change.startswith("format") else "other"


def _is_grey(image: Image.Image) -> bool:
    pixels = np.asarray(image.resize((32, 32), Image.Resampling.BOX)).astype(int)
    return int(np.ptp(pixels, axis=2).max()) <= _GREY_TOLERANCE
