"""Runs exported files on photos and holds what they answer against their bounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrecords_builder.errors import UserError
from trainer.exporting.proof import Comparison, compare
from trainer.exporting.reference import ProofPhotos, Reference
from trainer.exporting.runtime import RuntimeResult, run_in_own_process
from trainer.exporting.targets import SAVED_MODEL, Bound

_ENCODED_PHOTOS = 32


class ExportError(UserError):
    """A file broke its bound; nothing of it is kept."""

    exit_code = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Proven:
    """A file that has run: what it answered, and what it took."""

    result: RuntimeResult
    comparison: Comparison
    remedy: str | None = None
    """Of int8, which held."""
    encoded: Comparison | None = None
    """Of a SavedModel's signature on files."""
    tried: tuple[str, ...] = ()
    """Remedies that did not hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prover:
    """The photos of a proof, and what the run says about them."""

    photos: ProofPhotos
    reference: Reference
    split: str
    """Where the photos are from."""
    num_threads: int
    """Of the runtimes."""

    def run(self, path: Path) -> Proven:
        """Runs a file in its own runtime on all photos."""
        result = run_in_own_process(path, self.photos.pixels, self.num_threads)
        comparison = compare(result.probabilities, self.reference.on_pixels, self.photos.labels)
        return Proven(result=result, comparison=comparison)

    def run_encoded(self, path: Path) -> Comparison:
        """Proves a SavedModel's signature on files: its decoding is TensorFlow's, not Pillow's.

        Raises:
            ExportError: it answers otherwise.
        """
        photos = np.empty(min(_ENCODED_PHOTOS, len(self.photos.encoded)), object)
        photos[:] = self.photos.encoded[: len(photos)]
        result = run_in_own_process(path, photos, self.num_threads, "serving_default")
        found = compare(
            result.probabilities,
            self.reference.on_pixels[: len(photos)],
            self.photos.labels[: len(photos)],
        )
        # Of few photos one is many points: agreement is what is held.
        bound = Bound(difference=None, drop_points=100.0, agreement=0.9)
        self.require(found, bound, f"{SAVED_MODEL} on encoded photos")
        return found

    def require(
        self, comparison: Comparison, bound: Bound, what: str, layers: Sequence[str] = ()
    ) -> None:
        """Lets what holds its bound pass.

        Args:
            comparison: of the file.
            bound: of its kind.
            what: is named by the error.
            layers: that lose most, for the error.

        Raises:
            ExportError: the bound is broken.
        """
        broken = comparison.broken(bound)
        if not broken:
            return
        named = f"; the layers that lose most: {', '.join(layers)}" if layers else ""
        raise ExportError(
            f"{what} is not the network that it was made of: {'; '.join(broken)}, on "
            f"{comparison.num_photos} photos of {self.split}{named}; nothing of it is "
            "kept; export it less quantized, or prove it on more photos"
        )
