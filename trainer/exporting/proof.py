"""Is an exported file still the network that it was made of?

Shapes: N photos, K classes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from trainer.exporting.targets import Bound


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A file beside the reference, on the same pixels."""

    num_photos: int
    num_labelled: int
    top_1_reference: float | None
    """Share of right answers among the labelled photos; None without labels."""
    top_1: float | None
    drop_points: float
    """What the file loses, in points of a hundred; without labels, the share of other answers."""
    agreement: float
    """Share of photos with the same answer."""
    max_difference: float
    """Of any probability."""
    mean_difference: float
    map_error: float | None = None
    """Of the evidence maps: root mean square of the difference over that of the values; None where
    there are none."""

    @property
    def resolution_points(self) -> float:
        """What one photo is worth: no smaller drop can be seen."""
        return 100 / max(self.num_labelled or self.num_photos, 1)

    def broken(self, bound: Bound) -> list[str]:
        """What a bound forbids about this, in words; nothing if it holds."""
        found = []
        # Written so that a difference that is no number is broken too.
        if bound.difference is not None and not self.max_difference <= bound.difference:
            found.append(
                f"a probability differs by {self.max_difference:.2g} (bound {bound.difference:g})"
            )
        if not self.drop_points <= bound.drop_points:
            found.append(
                f"{self.drop_points:.2f} points of top-1 are lost (bound {bound.drop_points:g}; "
                f"one photo is {self.resolution_points:.2f})"
            )
        if not self.agreement >= bound.agreement:
            found.append(
                f"only {self.agreement:.1%} of the answers agree (bound {bound.agreement:.0%})"
            )
        if self.map_error is not None and not self.map_error <= bound.map_error:
            found.append(
                f"the evidence maps are {self.map_error:.2g} of their size off (bound "
                f"{bound.map_error:g})"
            )
        return found

    def with_maps(self, maps: np.ndarray, reference: np.ndarray) -> Self:
        """The same with the error of evidence maps, [M, h, w, K] both; other shapes are an error
        of 1e9."""
        if maps.shape != reference.shape:
            return replace(self, map_error=1e9)
        size = float(np.sqrt(np.mean(np.square(reference)))) or 1.0
        error = float(np.sqrt(np.mean(np.square(maps - reference))))
        return replace(self, map_error=error / size)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "resolution_points": self.resolution_points}


def compare(probabilities: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> Comparison:
    """Holds a file's probabilities [N, K] against the reference's; labels int [N], -1 for none.

    Probabilities that are not finite count as wrong answers and as a difference of 1.

    Raises:
        ValueError: the shapes differ, or there are no photos.
    """
    if probabilities.shape != reference.shape or len(reference) == 0:
        raise ValueError(
            f"got probabilities {probabilities.shape} for a reference of {reference.shape}; need "
            "the same photos and classes, at least one"
        )
    finite = np.isfinite(probabilities).all(axis=1)
    answers = np.where(finite, np.nan_to_num(probabilities).argmax(axis=1), -2)
    expected = reference.argmax(axis=1)
    differences = np.where(
        finite[:, np.newaxis], np.abs(np.nan_to_num(probabilities) - reference), 1.0
    )
    same = answers == expected
    labelled = labels >= 0
    num_labelled = int(labelled.sum())
    before = after = None
    # Counted, not taken from shares: 0.88 - 0.87 is more than 0.01.
    drop = 100 * int((~same).sum()) / len(same)
    if num_labelled:
        num_right_before = int((expected == labels)[labelled].sum())
        num_right_after = int((answers == labels)[labelled].sum())
        before, after = num_right_before / num_labelled, num_right_after / num_labelled
        drop = 100 * (num_right_before - num_right_after) / num_labelled
    return Comparison(
        num_photos=len(reference),
        num_labelled=num_labelled,
        top_1_reference=before,
        top_1=after,
        drop_points=drop,
        agreement=float(same.mean()),
        max_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
    )


def describe(name: str, comparison: Comparison) -> str:
    """One line for people."""
    scored = ""
    if comparison.top_1 is not None and comparison.top_1_reference is not None:
        scored = f"top-1 {comparison.top_1:.4f} of {comparison.top_1_reference:.4f}, "
    return (
        f"{name}: {scored}agreement {comparison.agreement:.1%}, largest difference "
        f"{comparison.max_difference:.2g} ({comparison.num_photos} photos)"
    )


def worst_layers(errors: Mapping[str, float], num: int = 5) -> list[str]:
    """Names of the layers with the largest errors, the largest first."""
    return sorted(errors, key=lambda name: -errors[name])[:num]
