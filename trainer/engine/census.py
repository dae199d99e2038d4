"""What of the network each stage trains, counted before anything runs."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from trainer.network.build import build_network, cut_for_stage
from trainer.network.layers import FoldingBatchNormalization
from trainer.plan import StagePlan, StageVariables
from trainer.recipe import Recipe


def count_variables(
    recipe: Recipe, plans: Sequence[StagePlan], num_classes: int
) -> tuple[StageVariables, ...]:
    """Cuts one network for every stage in turn; the image size changes no variable."""
    with tf.device("/cpu:0"):
        network = build_network(recipe, num_classes, min(plan.stage.image_px for plan in plans))
    everything = network.variables()
    counted = []
    for plan in plans:
        cut = cut_for_stage(network, plan.stage)
        frozen = everything.keys() - cut.trainable.keys() - cut.statistics.keys()
        if len(cut.trainable) + len(cut.statistics) + len(frozen) != len(everything):
            raise RuntimeError(f"a variable of stage {plan.stage.name!r} is matched by two rules")
        norms = [
            layer for layer in network.model.layers if isinstance(layer, FoldingBatchNormalization)
        ]
        num_trained_norms = sum(bool(layer.trainable) for layer in norms)
        counted.append(
            StageVariables(
                stage=plan.stage.name,
                trained_parameters=_size(list(cut.trainable.values())),
                frozen_parameters=_size([everything[name] for name in frozen]),
                statistics_parameters=_size(list(cut.statistics.values())),
                trained_variables=len(cut.trainable),
                frozen_variables=len(frozen),
                trained_batch_norms=num_trained_norms,
                frozen_batch_norms=len(norms) - num_trained_norms,
            )
        )
    return tuple(counted)


def _size(variables: Sequence[keras.Variable]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)
