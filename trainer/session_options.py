"""What `trainer.task` was asked for, and the recipe that this gives."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from trainer.auto_submit import AutoSubmit
from trainer.network.backbones import check_network
from trainer.overrides import apply_overrides
from trainer.recipe import Recipe
from trainer.recipes import load_recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionOptions:
    """The flags of `trainer.task`, read once; see there."""

    data_dir: str
    run_dir: str
    recipe_name: str
    overrides: tuple[str, ...]
    weights: str | None
    precision: str | None
    strategy: str
    num_devices: int | None
    tpu: str
    seed: int
    batch_scaling: str
    cache: str
    xla: bool | None
    deadline: str | None
    checkpoint_every: str
    max_rollbacks: int
    rehearse: bool | None
    rehearse_only: bool
    allow_changes: bool
    preview: str | None = None
    """Where to write a picture of what the network sees, instead of training."""
    quiet: bool = False
    verbose: bool = False
    profile: bool = False
    auto_submit: AutoSubmit | None = None
    rate_scaling: str = "linear"
    deterministic: bool = False


def resolve_recipe(options: SessionOptions) -> Recipe:
    """The recipe with `--set`, `--weights` and `--precision` applied."""
    recipe = apply_overrides(load_recipe(options.recipe_name), options.overrides)
    changes: dict[str, Any] = {"weights": options.weights, "precision": options.precision}
    recipe = dataclasses.replace(
        recipe, **{name: value for name, value in changes.items() if value is not None}
    )
    check_network(recipe)
    return recipe
