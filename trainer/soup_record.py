"""`run.json` of an average of runs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainer.devices import describe
from trainer.run_record import MODEL_FILE, command_line_of_process, installed_versions

if TYPE_CHECKING:
    import tensorflow as tf


def make_soup_record(
    best: Mapping[str, Any],
    lineage: Mapping[str, Any],
    strategy: "tf.distribute.Strategy",
    seconds: float,
) -> dict[str, Any]:
    """The record of a soup: of its best member only what is true of the average as well.

    Args:
        best: record of the best member; its recipe and data are taken over.
        lineage: members, scores and where the statistics come from.
        strategy: that averaged.
        seconds: that it took.
    """
    return {
        "schema_version": best["schema_version"],
        "run_id": f"soup-of-{best['run_id']}",
        "command": command_line_of_process(),
        "settings": best["settings"],
        "data": best["data"],
        "devices": {
            "strategy": describe(strategy),
            "num_replicas": strategy.num_replicas_in_sync,
        },
        "versions": installed_versions(),
        "num_starts": 1,
        "finished": True,
        "model": MODEL_FILE,
        "history": [],
        "seconds": {"soup": {"averaging": seconds}},
        "seconds_total": {"averaging": seconds},
        "soup": lineage,
    }
