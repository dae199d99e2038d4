"""Runs exported files on photos and holds what they answer against their bounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.exporting.proof import Comparison, compare
from trainer.exporting.reference import ProofPhotos, Reference
from trainer.exporting.runtime import ExportError, RuntimeResult, run_in_own_process
from trainer.exporting.targets import SAVED_MODEL, Bound

_ENCODED_PHOTOS = 32


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
        """Runs a file in its own runtime on all photos.

        Raises:
            ExportError: it does not run.
        """
        result = run_in_own_process(path, self.photos.pixels, self.num_threads)
        return Proven(result=result, comparison=self._compare(result.probabilities, result.maps))

    def run_saved_model(self, path: Path) -> Proven:
        """`run`, and some photos through the signature on files, whose decoding is TensorFlow's.

        Raises:
            ExportError: that signature answers otherwise, or the folder does not run.
        """
        encoded = self.photos.encoded[:_ENCODED_PHOTOS]
        result = run_in_own_process(path, self.photos.pixels, self.num_threads, encoded)
        assert result.on_encoded is not None, "there were photos"
        on_encoded = self._compare(result.on_encoded)
        # Of few photos one is many points: agreement is what is held.
        bound = Bound(difference=None, drop_points=100.0, agreement=0.9)
        self.require(on_encoded, bound, f"{SAVED_MODEL} on encoded photos")
        comparison = self._compare(result.probabilities, result.maps)
        return Proven(result=result, comparison=comparison, encoded=on_encoded)

    def _compare(self, probabilities: np.ndarray, maps: np.ndarray | None = None) -> Comparison:
        num = len(probabilities)
        found = compare(probabilities, self.reference.on_pixels[:num], self.photos.labels[:num])
        return found if maps is None else found.with_maps(maps, self.reference.maps)

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
