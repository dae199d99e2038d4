"""How far an accuracy measured on N examples may be off."""

import numpy as np


def bootstrap_accuracy_interval(
    num_correct: int,
    num_examples: int,
    *,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of an accuracy: (low, high), both in [0, 1].

    Resampling N outcomes of which C are correct, with replacement, gives a number of correct ones
    that is distributed as Binomial(N, C / N); drawing that number directly is the same bootstrap
    at a thousandth of the cost (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).
    It depends on the counts and the seed only.

    A bootstrap cannot show an error that it has never seen: with all or none correct its interval
    has no width, and the score interval (Wilson, JASA 1927) is given instead.

    Raises:
      ValueError: Counts that are no accuracy, or a confidence outside of (0, 1).
    """
    if not (num_examples >= 1 and 0 <= num_correct <= num_examples and 0 < confidence < 1):
        raise ValueError(
            f"got {num_correct} correct of {num_examples} at confidence {confidence}; at least one "
            "example, 0 <= correct <= examples and 0 < confidence < 1 are needed; check the counts"
        )
    if num_correct in (0, num_examples):
        from scipy.stats import binomtest

        score = binomtest(num_correct, num_examples).proportion_ci(confidence, method="wilson")
        return float(score.low), float(score.high)
    draws = np.random.default_rng(seed).binomial(
        num_examples, num_correct / num_examples, size=num_resamples
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail]) / num_examples
    return float(low), float(high)
