"""Whether an average of predictions pays: views of the same photos, or several runs.

Shapes: M members (views or runs), N examples, K classes. Everything is measured on validation data
and against "none", the prediction without any averaging; nothing is chosen that is worse than it
there, in accuracy or in log loss.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.metrics.classification import accuracy, example_log_losses, predicted_classes
from trainer.metrics.ensemble import Space, check_members, combine, fit_weights
from trainer.metrics.predictions import PredictionsError, check_labels
from trainer.metrics.significance import mcnemar_p_value, paired_p_value


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One way to average."""

    name: str
    weights: tuple[float, ...]
    """[M], of the members; 0 leaves one out."""
    space: Space = Space.PROBABILITIES

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Candidate":
        """The candidate that `Choice.to_json` wrote, as in `chosen`."""
        return cls(
            name=fields["name"], weights=tuple(fields["weights"]), space=Space(fields["space"])
        )

    def apply(self, stacked: ArrayLike) -> NDArray[np.float64]:
        """This average of predictions [M, N, K] of the members it was measured on."""
        return combine(stacked, self.weights, self.space)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a candidate brought on validation, against "none"."""

    candidate: Candidate
    accuracy: float
    log_loss: float
    p_accuracy: float
    """One-sided exact McNemar test: how likely chance alone gains as many examples, in [0, 1]."""
    p_log_loss: float
    """One-sided test of the mean paired difference of the examples' log losses, in [0, 1]."""
    pays: bool
    """No worse than "none" in both, and better in one of them beyond noise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What was chosen, and everything that was measured on the way."""

    chosen: Candidate
    num_examples: int
    level: float
    """The p-value that a gain had to reach: 0.05 shared among all tests made (Bonferroni)."""
    measured: tuple[Measured, ...]
    """ "none" first, then the candidates in the order given."""

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers."""
        document = asdict(self)
        for candidate in [document["chosen"], *(row["candidate"] for row in document["measured"])]:
            candidate["space"] = candidate["space"].value
            candidate["weights"] = list(candidate["weights"])
        document["measured"] = list(document["measured"])
        return document


def choose(
    stacked: ArrayLike,
    labels: ArrayLike,
    candidates: Sequence[Candidate],
    *,
    none: int = 0,
    false_positive_rate: float = 0.05,
) -> Choice:
    """Measures candidates on validation and keeps the best of those that pay beyond noise.

    A candidate pays if neither its accuracy nor its log loss is worse than that of "none", and one
    of them is better by more than chance explains, all tests taken together. Of those that pay the
    one of the highest accuracy is chosen, of equal ones that of the lowest log loss.

    Args:
      stacked: [M, N, K] probabilities of the members on validation.
      labels: [N].
      candidates: What to measure besides "none".
      none: Index of the member that stands for not averaging.
      false_positive_rate: How often noise alone may look like a gain, in (0, 1).

    Raises:
      PredictionsError: Members, labels or weights that do not fit each other.
    """
    members = check_members(stacked)
    alone = Candidate(name="none", weights=tuple(float(i == none) for i in range(len(members))))
    level = false_positive_rate / max(2 * len(candidates), 1)
    before = _Result.of(members, labels, alone)
    rows = [before.measured(before, level)]
    rows += [_Result.of(members, labels, each).measured(before, level) for each in candidates]
    paying = [row for row in rows if row.pays]
    best = max(paying, key=lambda row: (row.accuracy, -row.log_loss), default=rows[0])
    return Choice(
        chosen=best.candidate, num_examples=members.shape[1], level=level, measured=tuple(rows)
    )


def choose_views(
    stacked: ArrayLike, labels: ArrayLike, views: Mapping[str, Sequence[int]]
) -> Choice:
    """Test-time augmentation: `choose` among plain averages of views, of both spaces.

    Args:
      stacked: [V, N, K] probabilities of the views; view 0 is the photo as it is.
      labels: [N].
      views: Indices of the views of each named average, for example {"flip": (0, 1)}.
    """
    num_views = len(check_members(stacked))
    candidates = [
        Candidate(
            name=f"{name}, {space.value}",
            weights=tuple(float(index in indices) for index in range(num_views)),
            space=space,
        )
        for name, indices in views.items()
        for space in Space
    ]
    return choose(stacked, labels, candidates)


def choose_ensemble(
    stacked: ArrayLike,
    labels: ArrayLike,
    names: Sequence[str],
    given: Sequence[float] | None = None,
) -> Choice:
    """Several runs: the fitted or given weights, or the best single run where they do not pay.

    "none" is the run of the highest accuracy, of equal ones that of the lowest log loss. Fitted
    weights have seen the labels that they are measured on; with a handful of weights against
    hundreds of examples that is harmless, with more it flatters.

    Args:
      stacked: [M, N, K] probabilities of the runs on the same validation data.
      labels: [N].
      names: Of the runs, for the record.
      given: Weights to measure instead of fitted ones.
    """
    members = check_members(stacked)
    if len(names) != len(members):
        raise PredictionsError(
            f"{len(names)} names for {len(members)} predictions; one a run is needed; name them all"
        )
    checked_labels = check_labels(labels, members.shape[2])
    scores = [
        (accuracy(predicted_classes(each), checked_labels), -_mean_loss(each, checked_labels))
        for each in members
    ]
    equal = Candidate(
        name=f"mean of {', '.join(names)}", weights=(1 / len(members),) * len(members)
    )
    if given is not None:
        candidates = [Candidate(name="given weights", weights=tuple(given))]
    else:
        fitted = fit_weights(members, checked_labels)
        candidates = [equal, Candidate(name="fitted weights", weights=tuple(fitted.tolist()))]
    return choose(
        members, checked_labels, candidates, none=max(range(len(scores)), key=scores.__getitem__)
    )


@dataclass(frozen=True, slots=True)
class _Result:
    """A candidate's predictions, example by example."""

    candidate: Candidate
    correct: NDArray[np.bool_]
    losses: NDArray[np.float64]

    @classmethod
    def of(cls, members: NDArray[np.float64], labels: ArrayLike, candidate: Candidate) -> "_Result":
        mixed = candidate.apply(members)
        losses = example_log_losses(mixed, labels)
        return cls(candidate, predicted_classes(mixed) == np.asarray(labels), losses)

    def measured(self, none: "_Result", level: float) -> Measured:
        gained = int(np.count_nonzero(self.correct & ~none.correct))
        lost = int(np.count_nonzero(none.correct & ~self.correct))
        differences = none.losses - self.losses
        p_accuracy = mcnemar_p_value(gained, lost)
        p_log_loss = paired_p_value(differences)
        no_worse = gained >= lost and math.fsum(differences) >= 0
        return Measured(
            candidate=self.candidate,
            accuracy=int(np.count_nonzero(self.correct)) / len(self.correct),
            log_loss=math.fsum(self.losses) / len(self.losses),
            p_accuracy=p_accuracy,
            p_log_loss=p_log_loss,
            pays=no_worse and min(p_accuracy, p_log_loss) < level,
        )


def _mean_loss(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    return math.fsum(example_log_losses(probabilities, labels)) / len(labels)
