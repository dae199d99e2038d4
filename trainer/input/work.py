"""Multiply-adds of a network, counted from its layers."""

import keras
import numpy as np

from trainer.network.backbones import border_block
from trainer.network.build import block_of, build_network
from trainer.recipe import Recipe, Stage


def stage_macs(recipe: Recipe, stage: Stage, num_classes: int) -> tuple[float, float]:
    """Multiply-adds of one photo's forward pass: of the whole network, and of what trains.

    Convolutions and dense layers count, the rest is small. With kept features the canvases are
    asked for while the features are computed: a forward pass alone.
    """
    network = build_network(recipe, num_classes, stage.image_px)
    blocks = network.blocks
    first_trained = blocks.index(border_block(blocks, stage))
    total = trained = 0.0
    for layer in network.model.layers:
        macs = layer_macs(layer)
        total += macs
        block = block_of(layer.name)
        if block is not None and blocks.index(block) >= first_trained:
            trained += macs
    return total, 0.0 if stage.cache_feature_views else trained


def layer_macs(layer: keras.layers.Layer) -> float:
    """Multiply-adds of one layer for one example; 0 for what is neither convolution nor dense."""
    if isinstance(layer, keras.layers.Dense):
        return float(np.prod(layer.kernel.shape))
    if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        _, height, width, _ = layer.output.shape
        # A depthwise kernel [h, w, C, 1] is used once a place, as a full one [h, w, C, D] is.
        return float(height * width * np.prod(layer.kernel.shape))
    return 0.0
