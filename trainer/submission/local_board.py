"""Scores a submission as Kaggle would, where the labels of the test photos are known."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.metrics.interval import bootstrap_accuracy_interval
from trainer.submission.errors import SubmissionError
from trainer.submission.file import read_submission


@dataclass(frozen=True, kw_only=True, slots=True)
class PartScore:
    """Accuracy on one part of the test photos, in [0, 1]."""

    accuracy: float
    interval: tuple[float, float]
    """95 % bootstrap interval."""
    num_photos: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalScore:
    """What the two boards of a competition would show, and the score of all photos."""

    public: PartScore | None
    """None if the part has no photo."""
    private: PartScore | None
    all: PartScore

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, numbers and None."""
        return {
            name: None
            if part is None
            else {
                "accuracy": part.accuracy,
                "interval": list(part.interval),
                "num_photos": part.num_photos,
            }
            for name, part in (
                ("public", self.public),
                ("private", self.private),
                ("all", self.all),
            )
        }


def score_submission(
    submission: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    *,
    public_fraction: float = 0.5,
    seed: int = 0,
) -> LocalScore:
    """Scores a submission file against a file of true labels.

    Args:
      submission: CSV with a header; id and label in the first two columns.
      labels: Likewise, with the true labels of the same ids, in any order.
      public_fraction: Share of the photos on the public board, in [0, 1].
      seed: Which photos those are. The split depends on the set of ids, not on any order of them.

    Raises:
      SubmissionError: A file cannot be read, an id is there twice, or the ids differ.
      ValueError: `public_fraction` is no share.
    """
    if not 0 <= public_fraction <= 1:
        raise ValueError(
            f"public_fraction is {public_fraction}; a share from 0 to 1 is needed; try 0.5"
        )
    predicted, true = _label_of_id(submission), _label_of_id(labels)
    lacking, foreign = (
        sorted(true.keys() - predicted.keys()),
        sorted(predicted.keys() - true.keys()),
    )
    if lacking or foreign:
        raise SubmissionError(
            f"{submission} lacks {len(lacking)} ids of {labels} (first: {lacking[:1]}) and has "
            f"{len(foreign)} others (first: {foreign[:1]}); the same ids are needed in both; check "
            "that they belong together"
        )
    ids = sorted(true)
    correct = np.array([predicted[name] == true[name] for name in ids])
    is_public = np.zeros(len(ids), bool)
    order = np.random.default_rng(seed).permutation(len(ids))
    is_public[order[: round(public_fraction * len(ids))]] = True
    return LocalScore(
        public=_part(correct[is_public]) if is_public.any() else None,
        private=_part(correct[~is_public]) if not is_public.all() else None,
        all=_part(correct),
    )


def _part(correct: "np.ndarray[Any, np.dtype[np.bool_]]") -> PartScore:
    hits = int(np.count_nonzero(correct))
    return PartScore(
        accuracy=hits / len(correct),
        interval=bootstrap_accuracy_interval(hits, len(correct)),
        num_photos=len(correct),
    )


def _label_of_id(path: str | os.PathLike[str]) -> dict[str, str]:
    file = read_submission(path)
    labels = dict(zip(file.ids, file.labels, strict=True))
    if len(labels) != len(file.rows):
        raise SubmissionError(
            f"{path} has {len(file.rows)} rows but {len(labels)} different ids; every id is needed "
            "once; remove the repeated rows"
        )
    return labels
