"""What an exported file promises; needs nothing but Python.

Every exported file carries its contract as JSON. A file maps `image`, uint8 [B, S, S, 3] RGB, to
`probabilities`, float32 [B, K], and `class_activation`, float32 [B, h, w, K]. Everything after the
geometry is inside of the file: what the recipe always does to pixels, scaling, views, temperature.
`trainer.exporting.preparation` is the geometry: an encoded photo to those S x S pixels.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tfrecords_builder.errors import UserError

if TYPE_CHECKING:
    import numpy as np

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
CLASSES = "classes"
"""Of a SavedModel on encoded photos only."""


class ContractError(UserError):
    """A file that is none of ours, or of another version."""


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

    pixels: "np.ndarray"
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
        add_contract(file, contract)
    return archive.getvalue()


def add_contract(archive: zipfile.ZipFile, contract: Contract) -> None:
    """Adds contract and labels as members of an archive."""
    for name, text in contract_files(contract).items():
        # A fixed date, so that the same export gives the same bytes.
        archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)


def contract_files(contract: Contract) -> dict[str, str]:
    """Texts by file name: the contract, and the classes one a line."""
    return {
        FILE_NAME: json.dumps(contract.to_json(), indent=1) + "\n",
        LABELS_FILE: "".join(f"{name}\n" for name in contract.classes),
    }


def _onnx_metadata(path: Path) -> dict[str, str]:
    import onnx

    model = onnx.load(path, load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}
