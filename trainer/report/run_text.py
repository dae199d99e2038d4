"""The settings of a run as Markdown and as flat values, for TensorBoard."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.augment.config import Augmentation
from trainer.plan import StagePlan
from trainer.recipe import Stage
from trainer.report.page_facts import command_of

_STAGE_SETTINGS = ("image_px", "batch_size", "epochs", "learning_rate", "train_from")


def recipe_text(record: Mapping[str, Any]) -> str:
    """The recipe of a run record: what differs from the defaults, by stage."""
    recipe = record["settings"]["recipe"]
    lines = [f"**{recipe['name']}**: {recipe['summary']}", ""]
    lines += _table(
        {key: recipe[key] for key in recipe if key not in ("stages", "name", "summary")}
    )
    for stage in recipe["stages"]:
        lines += ["", f"**stage {stage['name']}**", "", *_table(_changed(stage))]
    lines += ["", f"Command: `{command_of(record)}`"]
    return "\n".join(lines)


def stages_text(plans: Sequence[StagePlan]) -> str:
    """Where each stage begins and ends on the axis of optimizer steps."""
    lines = ["|stage|steps|trains from|px|batch|epochs|", "|---|---|---|---|---|---|"]
    first = 0
    for plan in plans:
        last = first + plan.num_steps
        stage = plan.stage
        lines.append(
            f"|{plan.index + 1} {stage.name}|{first} to {last}|{stage.train_from}|"
            f"{stage.image_px}|{plan.global_batch}|{stage.epochs}|"
        )
        first = last
    lines += ["", "A stage that its patience ends early moves the later ones to the left."]
    return "\n".join(lines)


def data_text(record: Mapping[str, Any]) -> str:
    """Data set, devices and versions of a run record."""
    data = record["data"]
    facts = {
        "data": data["dir"],
        **{f"photos in {name}": count for name, count in data["splits"].items()},
        "classes": ", ".join(data["classes"]),
        "fingerprint": record["settings"]["data_fingerprint"],
        **record["devices"],
        **record["versions"],
    }
    return "\n".join(_table(facts))


def settings_of(record: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Flat values that tell runs apart: of the recipe, and the main ones of each stage."""
    settings = record["settings"]
    recipe = settings["recipe"]
    values: dict[str, Any] = {"recipe": recipe["name"], "seed": settings["seed"]}
    for key in ("backbone", "weights", "precision", "head_dropout"):
        values[key] = recipe[key]
    for stage in recipe["stages"]:
        values |= {f"{stage['name']}.{key}": stage[key] for key in _STAGE_SETTINGS}
    return values


def _changed(stage: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a stage that differ from the defaults; those without one always."""
    shown = {}
    for field in dataclasses.fields(Stage):
        if field.name in ("name", "augmentation"):
            continue
        if field.default is dataclasses.MISSING or stage[field.name] != field.default:
            shown[field.name] = stage[field.name]
    defaults = dataclasses.asdict(Augmentation())
    for key, value in stage["augmentation"].items():
        if value != defaults.get(key):
            shown[f"augmentation.{key}"] = value
    return shown


def _table(facts: Mapping[str, Any]) -> list[str]:
    return ["|||", "|---|---|", *(f"|{key}|{_cell(value)}|" for key, value in facts.items())]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
