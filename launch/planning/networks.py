"""What the blocks of a backbone cost, from a file that `trainer.lowering.network_costs` counted."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import RecipeError
from trainer.overrides import nearest
from trainer.recipe import TRAIN_ALL, TRAIN_HEAD

_REFERENCE_PX = 224


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of some blocks and one photo."""

    parameters: int = 0
    multiply_adds: float = 0.0
    activations: float = 0.0
    """Numbers that convolutions, activations, products and sums write."""
    largest_activations: float = 0.0
    """Of the block that writes most."""


@functools.cache
def _blocks() -> dict[str, list[tuple[str, int, int, int]]]:
    table: dict[str, list[tuple[str, int, int, int]]] = json.loads(
        Path(__file__).with_name("networks.json").read_text()
    )
    return table


def split_cost(backbone: str, train_from: str, image_px: int) -> tuple[Cost, Cost]:
    """What lies below the border of a stage, and what from there on trains (the head left out).

    Convolutions cost in proportion to the area.

    Raises:
        RecipeError: no such backbone, or no such block in it.
    """
    table = _blocks()
    if backbone not in table:
        raise RecipeError(f"backbone {backbone!r} is not known; {nearest(backbone, table)}")
    rows = table[backbone]
    names = [row[0] for row in rows]
    if train_from == TRAIN_ALL:
        border = 0
    elif train_from == TRAIN_HEAD:
        border = len(rows)
    elif train_from in names:
        border = names.index(train_from)
    else:
        raise RecipeError(
            f"train_from={train_from!r} is not a block of {backbone}; "
            f"{nearest(train_from, (TRAIN_HEAD, TRAIN_ALL, *names))}"
        )
    area = (image_px / _REFERENCE_PX) ** 2
    return _sum(rows[:border], area), _sum(rows[border:], area)


def _sum(rows: list[tuple[str, int, int, int]], area: float) -> Cost:
    return Cost(
        parameters=sum(row[1] for row in rows),
        multiply_adds=area * sum(row[2] for row in rows),
        activations=area * sum(row[3] for row in rows),
        largest_activations=area * max((row[3] for row in rows), default=0),
    )
