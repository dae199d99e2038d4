"""What an exported file promises, and the pixels it wants; needs Pillow and numpy only.

Every exported file carries its contract as JSON. A file maps `image`, uint8 [B, S, S, 3] RGB, to
`probabilities`, float32 [B, K], and `class_activation`, float32 [B, h, w, K]. Everything after the
geometry is inside of the file: what the recipe always does to pixels, scaling, views, temperature.
`prepare_photo` is the geometry: an encoded photo to those S x S pixels, as evaluation does it.
"""

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tfrecords_builder.errors import UserError
from tfrecords_builder.pixels import UnusablePixelsError, to_rgb

SCHEMA_VERSION = 1
FILE_NAME = "contract.json"
LABELS_FILE = "labels.txt"
ONNX_KEY = FILE_NAME
"""Of ONNX' `metadata_props`."""
SAVED_MODEL_FOLDER = "assets.extra"
"""Where TensorFlow Serving expects files that the graph does not read."""
INPUT = "image"
PROBABILITIES = "probabilities"
CLASS_ACTIVATION = "class_activation"
MAX_PIXELS = 100_000_000
_FORMATS = frozenset(("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"))
_ORIENTATION_TAG = 0x0112
_MOST_BARS = 32
"""Width over height, or its inverse, from which on "pad" adds no more: of a line of pixels that
declares itself a photo, bars would fill the memory."""


class ContractError(UserError):
    """A file that is none of ours, or of another version."""


class PhotoError(ValueError):
    """These bytes cannot be predicted; the message is a reason that their sender may see."""


class PhotoTooLargeError(PhotoError):
    """It declares more pixels than allowed; nothing was decoded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """How a photo becomes a square; the fields of `trainer.augment.config.Augmentation`."""

    resize: str
    """squash | center_crop | pad"""
    center_fraction: float
    pad_value: int
    canvas_px: int
    """Side of the square to which a photo is decoded first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """What stands in `contract.json` of an exported file."""

    classes: tuple[str, ...]
    """In the order of the probabilities."""
    image_px: int
    """S."""
    geometry: Geometry
    temperature: float
    """Is applied inside."""
    views: tuple[Mapping[str, Any], ...]
    """Looks at each photo that are averaged inside; fields of `trainer.augment.config.View`."""
    weights_sha256: str
    run_id: str
    recipe: str
    backbone: str
    format: str
    """litert | onnx | saved_model | keras"""
    quantization: str
    """none | float16 | dynamic | int8"""
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """What `to_json` wrote.

        Raises:
            ContractError: another version, or not a contract.
        """
        version = document.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ContractError(
                f"the contract has schema version {version}; this program reads {SCHEMA_VERSION}; "
                "export the run again"
            )
        try:
            fields = dict(document)
            fields["classes"] = tuple(fields["classes"])
            fields["views"] = tuple(dict(view) for view in fields["views"])
            fields["geometry"] = Geometry(**fields["geometry"])
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ContractError(
                f"the contract is incomplete ({error}); need what trainer.export writes; export "
                "the run again"
            ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedPhoto:
    """A photo as a file wants it, and where its pixels come from."""

    pixels: np.ndarray
    """uint8 [S, S, 3], RGB"""
    width: int
    """Of the upright photo, in pixels."""
    height: int
    box: tuple[float, float, float, float]
    """left, top, right, bottom of what the square shows, in pixels of the upright photo; with
    "pad" it reaches past the photo."""


def read_contract(path: str | Path) -> Contract:
    """Reads the contract of a .tflite, .onnx or .keras file, or of a SavedModel's folder.

    ONNX needs the onnx package; the others nothing.

    Raises:
        ContractError: no such file, or one without a contract.
    """
    path = Path(path)
    try:
        if path.is_dir():
            text = (path / SAVED_MODEL_FOLDER / FILE_NAME).read_text()
        elif path.suffix == ".onnx":
            text = _onnx_metadata(path)[ONNX_KEY]
        else:
            with zipfile.ZipFile(path) as archive:
                text = archive.read(FILE_NAME).decode()
        return Contract.from_json(json.loads(text))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ContractError(
            f"{path} holds no {FILE_NAME} ({type(error).__name__}: {error}); need a file that "
            "trainer.export wrote; export the run again"
        ) from error


def append_contract(model: bytes, contract: Contract) -> bytes:
    """A .tflite file with its contract and labels behind it, as a zip archive.

    That is how files have been attached to TFLite models since the format has metadata: runtimes
    stop reading where the model ends, archive programs start reading from the end.
    """
    archive = io.BytesIO(model)
    archive.seek(0, io.SEEK_END)
    with zipfile.ZipFile(archive, "a") as file:
        for name, text in contract_files(contract).items():
            # A fixed date, so that the same export gives the same bytes.
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
    return archive.getvalue()


def contract_files(contract: Contract) -> dict[str, str]:
    """Texts by file name: the contract, and the classes one a line."""
    return {
        FILE_NAME: json.dumps(contract.to_json(), indent=1) + "\n",
        LABELS_FILE: "".join(f"{name}\n" for name in contract.classes),
    }


def prepare_photo(
    encoded: bytes, contract: Contract, max_pixels: int = MAX_PIXELS
) -> PreparedPhoto:
    """Decodes a photo of any size: upright, RGB, in the geometry of evaluation.

    Within one grey level of `trainer.augment.batch.evaluation_batch`, but for a JPEG's fine grain:
    training decodes with libjpeg-turbo's quick settings and OpenCV, this with Pillow alone.

    Safe to be called from several threads; Pillow lets go of the interpreter lock. It may warn of
    damaged metadata.

    Args:
        encoded: a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or JPEG 2000 file; of several frames the
            first counts.
        contract: of the file that will see it.
        max_pixels: that a photo may declare.

    Raises:
        PhotoTooLargeError: it declares more; nothing was decoded.
        PhotoError: it is damaged, or no photo.
    """
    try:
        # Pillow knows only five formats until it is asked for all.
        Image.init()
        formats = tuple(sorted(_FORMATS.intersection(Image.OPEN)))
        with Image.open(io.BytesIO(encoded), formats=formats) as photo:
            return _prepare(photo, contract, max_pixels)
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


def _prepare(photo: Image.Image, contract: Contract, max_pixels: int) -> PreparedPhoto:
    width, height = photo.size
    if width * height > max_pixels:
        raise PhotoTooLargeError(f"declares {width} x {height} pixels, more than {max_pixels}")
    orientation = photo.getexif().get(_ORIENTATION_TAG, 1)
    canvas_px = contract.geometry.canvas_px
    photo.draft("RGB", (canvas_px, canvas_px))
    photo.load()
    canvas = to_rgb(photo).resize((canvas_px, canvas_px), Image.Resampling.BILINEAR)
    if orientation in range(2, 9):
        # After the squash, when few pixels are left to be turned.
        canvas.getexif()[_ORIENTATION_TAG] = orientation
        canvas = ImageOps.exif_transpose(canvas)
    if orientation in range(5, 9):
        width, height = height, width
    aspect = min(max(width / height, 1 / _MOST_BARS), _MOST_BARS)
    shares = evaluation_box(aspect, contract.geometry)
    outside = contract.geometry.pad_value if contract.geometry.resize == "pad" else None
    pixels = _look(canvas, shares, outside, contract.image_px)
    left, top, right, bottom = shares
    return PreparedPhoto(
        pixels=pixels,
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
) -> np.ndarray:
    canvas_px = canvas.width
    pixels = canvas
    # One axis after the other: a panorama's bars are many canvases high, but only so many wide.
    for axis in (1, 0):
        low, high = shares[axis] * canvas_px, shares[axis + 2] * canvas_px
        pixels = _look_along(pixels, axis, low, high, outside, image_px)
    return np.asarray(pixels)


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


def _onnx_metadata(path: Path) -> dict[str, str]:
    import onnx

    model = onnx.load(path, load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}
