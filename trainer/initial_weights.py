"""What a run begins with: the weights that its recipe names."""

import glob
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tfrecords_builder.manifest import Manifest
from trainer.recipe import Recipe
from trainer.run_record import MODEL_FILE

if TYPE_CHECKING:
    from trainer.weights import LoadedWeights

NO_WEIGHTS = "none"


def check_initial_weights(recipe: Recipe, run_dir: str) -> None:
    """Tells at once, without TensorFlow, of weights that a run would look for in vain.

    A run with a checkpoint or a model does not need them any more. Whether there is one is not
    asked of gs://, so nothing is told there.

    Raises:
        WeightsError: see `check_weights`.
    """
    folder = glob.escape(run_dir)
    saved = glob.glob(f"{folder}/{MODEL_FILE}") + glob.glob(f"{folder}/checkpoints/*.safetensors")
    if recipe.weights == NO_WEIGHTS or "://" in run_dir or saved:
        return
    from trainer.weights import check_weights

    check_weights(recipe.weights, recipe.backbone)


def make_initial_weights(
    recipe: Recipe,
    manifest: Manifest,
    on_loaded: "Callable[[LoadedWeights, int], None]" = lambda loaded, num_variables: None,
) -> Callable[[Mapping[str, tuple[int, ...]]], Mapping[str, np.ndarray]]:
    """A function from the network's variables, name to shape, to arrays for some of them.

    Nothing is loaded before it is called.

    Args:
        recipe: names the weights.
        manifest: whose classes a head must have to be taken over.
        on_loaded: gets what was loaded and how many variables the network has.
    """

    def load(expected: Mapping[str, tuple[int, ...]]) -> Mapping[str, np.ndarray]:
        if recipe.weights == NO_WEIGHTS:
            return {}
        from trainer.weights import load_weights

        loaded = load_weights(recipe.weights, recipe.backbone, expected, classes=manifest.classes)
        on_loaded(loaded, len(expected))
        return loaded.arrays

    return load
