"""Averaging the weights of several trainings of one network, as far as validation likes it.

Wortsman et al., "Model soups" (2022), recipe 1: the members are tried from the best one down, and
each is stirred in if the average then scores better than without it. Works for members that
started from the same pretrained weights; others do not lie in one valley and are turned down.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from trainer.weights.tensors import Arrays, WeightsError


@dataclass(frozen=True, kw_only=True, slots=True)
class Soup:
    """The outcome: never worse on validation than the best member alone."""

    members: tuple[str, ...]
    """What is in it, the best first; one name where averaging did not pay."""
    arrays: Arrays
    score: float
    single_scores: Mapping[str, float]
    """Each member alone, best first."""
    tried: Mapping[str, float]
    """Score of the average with each further member, in the order of trying."""


def greedy_soup(
    names: tuple[str, ...],
    load: Callable[[str], Arrays],
    score: Callable[[Arrays], float],
) -> Soup:
    """Averages the members that help.

    Args:
        names: of the members, at least one.
        load: a member's arrays; called twice for each, so that two members at a time are in
            memory.
        score: of a network with these arrays on validation data; higher is better.

    Raises:
        WeightsError: members hold other tensors than the first one.
    """
    if not names:
        raise WeightsError("no weights to average were given; at least one is needed: name them")
    first = {key: values.shape for key, values in load(names[0]).items()}
    single_scores = {}
    for name in names:
        arrays = load(name)
        _check_same(names[0], first, name, arrays)
        single_scores[name] = score(arrays)
    ranked = sorted(single_scores, key=lambda name: -single_scores[name])
    members, best = [ranked[0]], single_scores[ranked[0]]
    average = load(ranked[0])
    tried = {}
    for name in ranked[1:]:
        candidate = _stir_in(average, len(members), load(name))
        tried[name] = score(candidate)
        if tried[name] > best:
            members.append(name)
            best, average = tried[name], candidate
    return Soup(
        members=tuple(members),
        arrays=average,
        score=best,
        single_scores={name: single_scores[name] for name in ranked},
        tried=tried,
    )


def _stir_in(average: Arrays, num_members: int, arrays: Arrays) -> Arrays:
    """The average of `num_members` arrays and one more."""
    return {
        key: (values + (arrays[key] - values) / np.float32(num_members + 1)).astype(np.float32)
        for key, values in average.items()
    }


def _check_same(
    first: str, shapes: Mapping[str, tuple[int, ...]], name: str, arrays: Arrays
) -> None:
    differing = sorted(
        key
        for key in shapes.keys() | arrays.keys()
        if key not in arrays or shapes.get(key) != arrays[key].shape
    )
    if differing:
        raise WeightsError(
            f"{name} and {first} differ in {len(differing)} tensors, e.g. {differing[0]}; only "
            "trainings of one backbone on the same classes can be averaged: leave one out"
        )
