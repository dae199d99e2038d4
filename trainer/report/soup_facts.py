"""What the record of an average of runs says of it; that of a trained run has no such part."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingredient:
    """One of the runs that were tried; scores are of validation, by what the soup was chosen by."""

    run: str
    alone: float
    stirred_in: float | None
    """Of the average with it; None for the best run, with which all begins."""
    verdict: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SoupFacts:
    """A soup and what it was made of."""

    ingredients: tuple[Ingredient, ...]
    """In the order in which they were tried."""
    members: Mapping[str, str]
    """SHA-256 of the weights by run, of those that are in it."""
    monitor: str
    """val_accuracy or val_loss."""
    accuracy: float | None
    """Of the soup on validation; None in the record of an older version, as `loss`."""
    loss: float | None
    statistics: str
    """Where those of BatchNorm come from."""


def soup_facts(record: Mapping[str, Any]) -> SoupFacts | None:
    """The facts of a soup; None for a run that was trained."""
    if "soup" not in record:
        return None
    soup = record["soup"]
    monitor = soup.get("monitor") or record["settings"]["recipe"]["monitor"]
    # A loss was turned round, so that more is better.
    sign = -1 if monitor == "val_loss" else 1
    ingredients = []
    for run, alone in soup["single_scores"].items():
        tried = soup["tried"].get(run)
        verdict = "kept" if run in soup["members"] else "left out"
        ingredients.append(
            Ingredient(
                run=run,
                alone=sign * alone,
                stirred_in=None if tried is None else sign * tried,
                verdict="the best alone" if tried is None else verdict,
            )
        )
    return SoupFacts(
        ingredients=tuple(ingredients),
        members=soup["members"],
        monitor=monitor,
        accuracy=soup.get("val_accuracy"),
        loss=soup.get("val_loss"),
        statistics=soup["statistics"],
    )


def soup_name(record: Mapping[str, Any]) -> str | None:
    """`soup of 3 runs`; None for a run that was trained."""
    if "soup" not in record:
        return None
    count = len(record["soup"]["members"])
    return f"soup of {count} run{'' if count == 1 else 's'}"
