"""Learning rates as pure functions of the step, compared over their whole curve in the tests."""

import math


def learning_rate_at(
    step: int,
    *,
    peak: float,
    num_steps: int,
    warmup_steps: int,
    schedule: str,
    final_fraction: float,
) -> float:
    """The learning rate of optimizer step `step`, counted from 0.

    Linear warm-up: peak (step + 1) / warmup_steps, so that the first step is not lost and the peak
    is reached by the last warm-up step. Then constant, or the half cosine of SGDR
    (Loshchilov & Hutter 2017): peak (f + (1 - f) (1 + cos(pi t)) / 2), t from 0 to below 1 over the
    remaining steps. A step behind the end keeps the last value.
    """
    step = min(step, num_steps - 1)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant":
        return peak
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return peak * (final_fraction + (1 - final_fraction) * (1 + math.cos(math.pi * progress)) / 2)
