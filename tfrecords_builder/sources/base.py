"""What every source of photos provides: a cheap listing now, the bytes later in a worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tfrecords_builder.manifest import MissingRow, Submission


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A bounding box in pixels of the photo as stored, edges from 0 (left, top) to width, height.

    Nothing is promised about the order or range of the edges: annotations are checked against
    the decoded frame, where a bad box can be clipped or quarantined and counted.
    """

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """One row of a source, cheap to make: nothing was read or decoded for it."""

    id: str
    """Unique over the whole data set; written into the record."""
    class_name: str | None
    """None where the photo has no label."""
    locator: str
    """What the source needs to find the bytes: a path, or anything else it understands."""
    num_bytes: int | None = None
    """Size of the encoded photo, where listing tells it."""
    version: str = ""
    """Changes when the content may have changed (time stamp, object generation, ...)."""
    split: str | None = None
    """"train", "val" or "test" where the source decides; None lets the builder choose."""
    group: str | None = None
    """Photos of one group always stay on one side of a split."""
    box: Box | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantined:
    """A photo that is left out, and why."""

    id: str
    locator: str
    reason: str
    class_name: str | None = None
    """Of a photo that a source lists but may not read, where it knows it: the class stays one of
    the data set, and a build that has none of its photos says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """Everything a source knows before the first photo is read.

    The photos of the split "test" keep the order given here; all others are shuffled by seed.
    """

    photos: tuple[Photo, ...]
    quarantined: tuple[Quarantined, ...] = ()
    submission: Submission | None = None
    missing: tuple[MissingRow, ...] = ()
    """Rows of the sample submission without a photo."""
    class_names: tuple[str, ...] | None = None
    """The order of the classes where the source fixes it; None sorts the names naturally."""
    description: Mapping[str, str] = field(default_factory=dict)
    """Goes into the manifest as it is: kind of source and where it was."""
    adjustments: Mapping[str, str] = field(default_factory=dict)
    """Goes into the manifest too: what was changed about the listing (regrouping, exclusions)."""


class Source(Protocol):
    """A heap of photos. Must be picklable: it travels to the worker processes."""

    def list_photos(self) -> Listing:
        """Lists all photos without decoding any.

        Raises:
          UserError: the source cannot be used as it is.
        """
        ...

    def read(self, photo: Photo) -> bytes:
        """Returns the encoded bytes of one listed photo. Runs in a worker process.

        Raises:
          OSError: this one photo cannot be read; it is quarantined with the message.
        """
        ...
