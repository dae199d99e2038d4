"""What a built data set is: classes, splits, shards with counts, sizes and hashes.

`manifest.json` is written last, so a folder that has one is complete.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfrecords_builder import storage
from tfrecords_builder.errors import UserError

FILE_NAME = "manifest.json"
SCHEMA_VERSION = 1


class ManifestError(UserError):
    """A data folder is missing, unfinished or not one of ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One TFRecord file."""

    file: str
    """File name inside the data folder."""
    num_examples: int
    num_bytes: int
    sha256: str
    """Hexadecimal, over the whole file."""
    offsets: tuple[int, ...]
    """Byte position of every record's frame (its 8-byte length field), ascending."""

    def __post_init__(self) -> None:
        if "/" in self.file or "\\" in self.file:
            raise ValueError(f"shard file {self.file!r} is not a name inside the data folder")


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """One of "train", "val", "test"."""

    name: str
    num_examples: int
    class_counts: tuple[int, ...]
    """Examples per class in the order of `Manifest.classes`; all zero without labels."""
    labelled: bool
    shards: tuple[Shard, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingRow:
    """A row of the sample submission whose photo is missing or unusable."""

    position: int
    """Row number in the sample submission, from 0."""
    id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """The competition's CSV. The test split is in its order, less the `missing` rows."""

    id_column: str
    label_column: str
    missing: tuple[MissingRow, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The whole data set. Labels are indices into `classes`; -1 is "no label"."""

    schema_version: int
    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    source: dict[str, Any]
    seed: int
    val_fraction: float
    submission: Submission | None
    fingerprint: str
    """SHA-256 over classes, splits and shard hashes: the identity of the data."""


def fingerprint_of(classes: tuple[str, ...], splits: Mapping[str, Split]) -> str:
    """Returns the identity of the data: equal exactly when classes and all records are equal."""
    identity = {
        "classes": classes,
        "shards": {
            name: [shard.sha256 for shard in split.shards] for name, split in sorted(splits.items())
        },
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def dumps_manifest(manifest: Manifest) -> str:
    """Returns the text of `manifest.json`: equal manifests give equal bytes."""
    return json.dumps(manifest, default=fields_of, indent=1, ensure_ascii=False) + "\n"


def fields_of(instance: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass for `json.dumps(..., default=fields_of)`.

    `dataclasses.asdict` copies every number of every tuple, 20 microseconds a photo.
    """
    return {field.name: getattr(instance, field.name) for field in dataclasses.fields(instance)}


def parse_manifest(text: str) -> Manifest:
    """Reads what `dumps_manifest` wrote.

    Raises:
      ManifestError: the text is not a manifest of this schema version.
    """
    try:
        fields = json.loads(text)
        version = fields["schema_version"]
    except (ValueError, TypeError, KeyError) as error:
        raise ManifestError(
            f"manifest.json is damaged ({error!r}); build the data again into an empty folder"
        ) from error
    if version != SCHEMA_VERSION:
        raise ManifestError(
            f"manifest.json has schema version {version}, this program reads {SCHEMA_VERSION}; "
            "build the data again"
        )
    try:
        return _from_fields(fields)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ManifestError(
            f"manifest.json is damaged ({error!r}); build the data again into an empty folder"
        ) from error


def load_manifest(data_dir: str) -> Manifest:
    """Loads `manifest.json` of a built folder, local or `gs://`.

    Raises:
      ManifestError: there is none, or it cannot be understood.
    """
    path = storage.join(data_dir, FILE_NAME)
    try:
        text = storage.read_bytes(path).decode()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ManifestError(
            f"no {FILE_NAME} in {str(data_dir)!r}: not a finished data folder; "
            "build one with: python -m tfrecords_builder --out=..."
        ) from error
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path} is damaged ({error}); build the data again into an empty folder"
        ) from error
    return parse_manifest(text)


def _from_fields(fields: dict[str, Any]) -> Manifest:
    splits = {name: _split_from_fields(split) for name, split in fields["splits"].items()}
    submission = fields["submission"]
    if submission is not None:
        missing = tuple(MissingRow(**row) for row in submission["missing"])
        submission = Submission(**{**submission, "missing": missing})
    return Manifest(
        **{
            **fields,
            "classes": tuple(fields["classes"]),
            "splits": splits,
            "submission": submission,
        }
    )


def _split_from_fields(fields: dict[str, Any]) -> Split:
    shards = tuple(
        Shard(**{**shard, "offsets": tuple(shard["offsets"])}) for shard in fields["shards"]
    )
    return Split(**{**fields, "class_counts": tuple(fields["class_counts"]), "shards": shards})
