"""Averages of predictions of several runs, folds, or views of the same photos.

Shapes: M members (runs, folds or views), N examples, K classes.
"""

import math
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.metrics.calibration import apply_temperature
from trainer.metrics.predictions import PredictionsError, check_labels, check_probabilities

MAX_STEPS = 500


class Space(Enum):
    """What is averaged."""

    PROBABILITIES = "probabilities"
    LOGITS = "logits"
    """Logarithms of probabilities: a geometric mean, normalised."""


def combine(
    stacked: ArrayLike, weights: ArrayLike | None = None, space: Space = Space.PROBABILITIES
) -> NDArray[np.float64]:
    """The weighted average of the members' probabilities.

    Args:
      stacked: [M, N, K], rows sum to 1.
      weights: [M], >= 0, not all 0; scaled to sum 1. None weighs all the same, as is right for the
        out-of-fold models of a cross validation.
      space: What is averaged.

    Returns:
      float64 [N, K]; rows sum to 1.

    Raises:
      PredictionsError: Members of unlike shape, or weights that are none.
    """
    members = check_members(stacked)
    shares = np.ones(len(members)) if weights is None else np.asarray(weights, np.float64)
    if shares.shape != (len(members),) or not (shares >= 0).all() or not 0 < shares.sum() < np.inf:
        raise PredictionsError(
            f"weights {np.asarray(weights).tolist()} for {len(members)} predictions; one number >= "
            "0 for each and a sum above 0 are needed; give as many weights as runs"
        )
    shares = shares / shares.sum()
    if space is Space.LOGITS:
        logarithms = np.log(np.clip(members, np.finfo(np.float32).tiny, None))
        return apply_temperature(np.einsum("m,mnk->nk", shares, logarithms), 1.0)
    mixed: NDArray[np.float64] = np.einsum("m,mnk->nk", shares, members)
    return mixed / mixed.sum(axis=1, keepdims=True)


def fit_weights(stacked: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """The weights [M], summing to 1, under which the average has the lowest log loss.

    The log loss of a mixture is convex in its weights; expectation maximisation (Dempster, Laird
    and Rubin, 1977) lowers it at every step. Starts from equal weights, ends when a step gains less
    than 1e-10 nats an example, or after 500.
    """
    members = check_members(stacked)
    checked_labels = check_labels(labels, members.shape[2])
    chosen = members[:, np.arange(members.shape[1]), checked_labels]
    # An example that no member gives any chance says nothing about the weights.
    chosen = chosen[:, chosen.max(axis=0) > 0]
    weights = np.full(len(members), 1 / len(members))
    if chosen.shape[1] == 0:
        return weights
    last = -math.inf
    for _ in range(MAX_STEPS):
        mixed = weights @ chosen
        gain = float(np.log(mixed).mean())
        if gain - last < 1e-10:
            break
        last = gain
        weights = weights * (chosen / mixed).mean(axis=1)
        weights /= weights.sum()
    return weights


def check_members(stacked: ArrayLike) -> NDArray[np.float64]:
    """The members' probabilities as float64 [M, N, K].

    Raises:
      PredictionsError: Not [M, N, K] with M >= 1, or a member that is no probabilities.
    """
    try:
        members = np.asarray(stacked, np.float64)
    except ValueError:
        members = np.zeros(0)
    if members.ndim != 3 or len(members) == 0:
        raise PredictionsError(
            f"predictions have shape {members.shape}; [members, examples, classes] with at least "
            "one member is needed; predict the same split with every run"
        )
    for member in members:
        check_probabilities(member)
    return members
