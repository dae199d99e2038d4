"""`--set PATH=VALUE`: changes single fields of a recipe from the command line.

`head_dropout=0.3` changes the recipe, `stages.finish.image_px=320` one stage and
`stages.finish.augmentation.mirror=0` what lies inside; `stages.*.epochs=1` changes every stage.
"""

import ast
import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from trainer.errors import RecipeError
from trainer.recipe import Recipe, Stage

EVERY_STAGE = "*"


def apply_overrides(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """Returns the recipe with each `PATH=VALUE` applied in turn, checked as when it was written.

    Raises:
        RecipeError: no such field or stage (the nearest one is named), or a value of another type.
    """
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise RecipeError(
                f"--set {assignment!r} has no value; need PATH=VALUE, for example "
                "stages.finish.image_px=320"
            )
        recipe = _set(recipe, path.strip().split("."), text.strip(), path)
    return recipe


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the likely word that was meant and all that are known."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(known)}"


def _set(node: Any, path: Sequence[str], text: str, full_path: str) -> Any:
    name, rest = path[0], path[1:]
    types_of_fields = typing.get_type_hints(type(node))
    if name not in types_of_fields:
        raise RecipeError(f"--set {full_path}: no field {name!r}; {nearest(name, types_of_fields)}")
    value = getattr(node, name)
    if isinstance(node, Recipe) and name == "stages":
        return dataclasses.replace(node, stages=_set_stages(node.stages, rest, text, full_path))
    if dataclasses.is_dataclass(value):
        if not rest:
            raise RecipeError(
                f"--set {full_path} names a group; need one of its fields: "
                f"{', '.join(typing.get_type_hints(type(value)))}"
            )
        return dataclasses.replace(node, **{name: _set(value, rest, text, full_path)})
    if rest:
        raise RecipeError(f"--set {full_path}: {name!r} is a single value; drop .{'.'.join(rest)}")
    try:
        return dataclasses.replace(node, **{name: _convert(text, types_of_fields[name], full_path)})
    except ValueError as error:
        raise RecipeError(f"--set {full_path}={text}: {error}") from error


def _set_stages(
    stages: tuple[Stage, ...], path: Sequence[str], text: str, full_path: str
) -> tuple[Stage, ...]:
    names = [stage.name for stage in stages]
    if len(path) < 2:
        raise RecipeError(
            f"--set {full_path}: need stages.STAGE.FIELD; stages are {', '.join(names)}"
        )
    wanted = names if path[0] == EVERY_STAGE else [path[0]]
    if wanted[0] not in names:
        raise RecipeError(f"--set {full_path}: no stage {path[0]!r}; {nearest(path[0], names)}")
    return tuple(
        _set(stage, path[1:], text, full_path) if stage.name in wanted else stage
        for stage in stages
    )


def _convert(text: str, wanted: Any, full_path: str) -> Any:
    """Reads `text` as the field's declared type; integers are taken where floats are wanted."""
    if wanted is str:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    options = typing.get_args(wanted) if _is_union(wanted) else (wanted,)
    for option in options:
        origin = typing.get_origin(option) or option
        if option is type(None) and value in (None, "none"):
            return None
        if origin is typing.Literal and text in typing.get_args(option):
            return text
        if origin is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if origin is tuple and isinstance(value, list | tuple):
            return tuple(value)
        if origin in (int, bool, str) and type(value) is origin:
            return value
    names = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise RecipeError(
        f"--set {full_path}={text}: {text!r} is not a value of type {names}; write one"
    )


def _is_union(wanted: Any) -> bool:
    return typing.get_origin(wanted) in (typing.Union, types.UnionType)
