"""Is a gain on validation more than chance? Tests of paired results."""

import math

import numpy as np
from numpy.typing import NDArray

MIN_EXAMPLES_FOR_NOISE = 30
"""Below it the normal approximation of a mean says little, so no gain in log loss counts."""


def mcnemar_p_value(num_gained: int, num_lost: int) -> float:
    """Probability that of gained + lost examples at least `num_gained` are gained by fair coins.

    The exact one-sided test of McNemar (Psychometrika, 1947); 1 if nothing was gained.
    """
    total = num_gained + num_lost
    tail = sum(math.comb(total, count) for count in range(num_gained, total + 1))
    return tail / 2**total


def two_sided_mcnemar_p_value(num_gained: int, num_lost: int) -> float:
    """Probability of a difference as large, either way, between two equally good classifiers.

    The exact test of McNemar; 1 if the two agree on every example.
    """
    one_sided = mcnemar_p_value(max(num_gained, num_lost), min(num_gained, num_lost))
    return min(1.0, 2 * one_sided)


def paired_p_value(differences: NDArray[np.float64]) -> float:
    """Probability that a mean as high comes from differences [N] of mean 0, in [0, 1].

    Normal approximation of the paired t statistic; 1 for fewer than 30 examples.
    """
    if len(differences) < MIN_EXAMPLES_FOR_NOISE:
        return 1.0
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    mean = math.fsum(differences) / len(differences)
    if error == 0:
        return 0.0 if mean > 0 else 1.0
    return 0.5 * math.erfc(mean / error / math.sqrt(2))
