"""The recipes that ship with the project, one module each, found by name."""

import importlib
import pkgutil

from trainer.errors import RecipeError
from trainer.overrides import nearest
from trainer.recipe import Recipe


def recipe_names() -> tuple[str, ...]:
    """All names that `--recipe` takes."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load_recipe(name: str) -> Recipe:
    """The recipe of module `trainer.recipes.<name>`.

    Raises:
        RecipeError: there is none; the nearest name is given.
    """
    if name not in recipe_names():
        raise RecipeError(f"recipe {name!r} is not known; {nearest(name, recipe_names())}")
    recipe: Recipe = importlib.import_module(f"{__name__}.{name}").RECIPE
    return recipe
