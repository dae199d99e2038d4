"""Builds the network of a recipe for one image size, cut where a stage starts to train.

    pixels 0..255 -> Rescaling -> frozen blocks || trained blocks -> pooling -> head -> logits

The frozen part runs in inference mode outside of the gradient tape: nothing below the border is
differentiated and no activation of it is kept.
"""

import re
import zlib
from dataclasses import dataclass
from typing import Any

import keras

from trainer.network.backbones import (
    HEAD,
    STEM,
    TOP,
    border_block,
    drop_connect_rates,
    make_trunk,
    scaling_of,
)
from trainer.network.layers import (
    FoldedConv2D,
    FoldedDepthwiseConv2D,
    FoldingBatchNormalization,
    SeededDropout,
)
from trainer.recipe import Recipe, Stage

HEAD_DROPOUT_NUMBER = 0
_INITIALIZERS = {"kernel_initializer", "depthwise_initializer"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A whole model for one image size. All parts share their layers.

    `model` maps float32 pixels [B, px, px, 3] in 0..255 to float32 logits [B, K].
    """

    model: keras.Model
    blocks: tuple[str, ...]
    """Names in forward order: stem, block1a, ..., top, head; each layer belongs to exactly one."""

    def variables(self) -> dict[str, keras.Variable]:
        """Every variable by its stable name `<layer>/<variable>`."""
        return {
            f"{layer.name}/{variable.name}": variable
            for layer in self.model.layers
            for variable in layer.variables
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class StageNetwork:
    """A network as one stage trains it.

    `frozen` maps pixels to the border's feature map and is None where everything trains; `trained`
    goes on from there to the logits (with `train_from="head"`: from the pooled features).
    """

    network: Network
    frozen: keras.Model | None
    trained: keras.Model
    trainable: dict[str, keras.Variable]
    """What the optimizer changes, by name."""
    statistics: dict[str, keras.Variable]
    """Moving statistics of the BatchNorm layers that train."""
    depth: dict[str, int]
    """For each trainable variable, how many blocks below the head it lies: the head's own is 0."""


def build_network(recipe: Recipe, num_classes: int, image_px: int, seed: int = 0) -> Network:
    """Builds the network with fresh weights, under the recipe's precision.

    A layer's fresh weights are a function of the seed and its name, whatever else the process drew.

    The head is global average pooling, BatchNorm, Dropout and a Dense layer whose logits are
    float32 whatever the precision.
    """
    outer = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        scaling = scaling_of(recipe.backbone)
        pixels = keras.Input((image_px, image_px, 3), dtype="float32", name="pixels")
        # In float32 also under mixed precision: bfloat16 holds 8 bits of a pixel's 8 bits and more.
        x = keras.layers.Rescaling(
            list(scaling.scale), list(scaling.offset), dtype="float32", name="scaling"
        )(pixels)
        features = _rebuild(make_trunk(recipe.backbone, image_px), x, recipe.drop_connect, seed)
        x = keras.layers.GlobalAveragePooling2D(name="head_pool")(features)
        x = FoldingBatchNormalization(momentum=0.9, name="head_bn")(x)
        x = SeededDropout(recipe.head_dropout, HEAD_DROPOUT_NUMBER, name="head_dropout")(x)
        logits = keras.layers.Dense(
            num_classes,
            kernel_initializer=keras.initializers.GlorotUniform(_layer_seed(seed, "head_logits")),
            dtype="float32",
            name="head_logits",
        )(x)
        model = keras.Model(pixels, logits, name=recipe.backbone)
    finally:
        keras.config.set_dtype_policy(outer)
    _connect_folds(model)
    return Network(model=model, blocks=_block_names(model))


def cut_for_stage(network: Network, stage: Stage) -> StageNetwork:
    """Freezes and cuts the network for a stage.

    Every layer is matched by exactly one rule: below the border frozen; BatchNorm above it by the
    stage's policy; all else above it trained. The head's BatchNorm always trains.

    Raises:
        RecipeError: `train_from` names no block of this backbone.
    """
    model, border = network.model, border_block(network.blocks, stage)
    first = network.blocks.index(border)
    depth: dict[str, int] = {}
    trainable: dict[str, keras.Variable] = {}
    statistics: dict[str, keras.Variable] = {}
    for layer in model.layers:
        block = block_of(layer.name)
        index = network.blocks.index(block) if block is not None else -1
        trains = index >= first
        if isinstance(layer, FoldingBatchNormalization):
            trains = trains and (stage.batch_norm == "train" or block == HEAD)
            layer.folded = not trains and block != HEAD
            layer.synchronized = trains
        layer.trainable = trains
        for variable in layer.variables if trains else ():
            name = f"{layer.name}/{variable.name}"
            if variable.name.startswith("moving_"):
                statistics[name] = variable
            else:
                trainable[name] = variable
                depth[name] = len(network.blocks) - 1 - index
    frozen: keras.Model | None
    if border == STEM:
        frozen, trained = None, model
    else:
        cut = _input_of_block(model, border)
        frozen = keras.Model(model.input, cut, name="frozen")
        trained = keras.Model(cut, model.output, name="trained")
    return StageNetwork(
        network=network,
        frozen=frozen,
        trained=trained,
        trainable=trainable,
        statistics=statistics,
        depth=depth,
    )


def block_of(layer_name: str) -> str | None:
    """`block2a_expand_conv` -> `block2a`; None for the layers in front of the stem."""
    match = re.match(r"(stem|block\d+[a-z]+|top|head)_", layer_name)
    return match.group(1) if match else None


def _block_names(model: keras.Model) -> tuple[str, ...]:
    names = dict.fromkeys(
        block for layer in model.layers if (block := block_of(layer.name)) is not None
    )
    orphans = [
        layer.name for layer in model.layers if layer.variables and block_of(layer.name) is None
    ]
    if orphans:
        raise RuntimeError(f"layers with variables outside of every block: {orphans}")
    return tuple(names)


def _input_of_block(model: keras.Model, block: str) -> Any:
    """The tensor that enters a block; in forward order the first layer of it reads just that."""
    first = next(layer for layer in model.layers if block_of(layer.name) == block)
    if block == HEAD:
        return model.get_layer("head_pool").output
    return first.input


def _rebuild(trunk: keras.Model, x: Any, drop_connect: float, seed: int) -> Any:
    """Rebuilds the trunk's graph from the stem on, on `x` and out of our layers.

    Names, variables and function stay those of `keras.applications`; what stands before the stem,
    Keras' preprocessing, is left out. The graph is flat, so that it can be cut anywhere.
    """
    layers = [layer for layer in trunk.layers if block_of(layer.name) is not None]
    dropouts = [layer.name for layer in layers if isinstance(layer, keras.layers.Dropout)]
    blocks = dict.fromkeys(str(block_of(layer.name)) for layer in layers)
    rates = drop_connect_rates(
        [block for block in blocks if block not in (STEM, TOP)], drop_connect
    )
    tensors = {id(layers[0].input): x}
    for layer in layers:
        if isinstance(layer, keras.layers.Dropout):
            number = HEAD_DROPOUT_NUMBER + 1 + dropouts.index(layer.name)
            ours = SeededDropout(
                rates[str(block_of(layer.name))], number, whole_example=True, name=layer.name
            )
        else:
            config = layer.get_config()
            for name in _INITIALIZERS & set(config):
                config[name]["config"]["seed"] = _layer_seed(seed, layer.name)
            ours = _our_class(layer).from_config(config)
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        arguments = [tensors[id(tensor)] for tensor in inputs]
        tensors[id(layer.output)] = ours(arguments if len(arguments) > 1 else arguments[0])
    return tensors[id(trunk.output)]


def _layer_seed(seed: int, layer_name: str) -> int:
    """Keras draws the seeds of initializers from Python's global generator; these are fixed."""
    return zlib.crc32(f"{seed}/{layer_name}".encode()) & 0x7FFFFFFF


def _our_class(layer: keras.layers.Layer) -> type[keras.layers.Layer]:
    if isinstance(layer, keras.layers.BatchNormalization):
        return FoldingBatchNormalization
    if isinstance(layer, keras.layers.DepthwiseConv2D) and not layer.use_bias:
        return FoldedDepthwiseConv2D
    if isinstance(layer, keras.layers.Conv2D) and not layer.use_bias:
        return FoldedConv2D
    return type(layer)


def _connect_folds(model: keras.Model) -> None:
    """Tells every convolution without bias which BatchNorm reads it."""
    producers = {id(layer.output): layer for layer in model.layers}
    for layer in model.layers:
        if isinstance(layer, FoldingBatchNormalization):
            producer = producers.get(id(layer.input))
            if isinstance(producer, FoldedConv2D | FoldedDepthwiseConv2D):
                producer.scale_and_shift = layer.scale_and_shift
            elif block_of(layer.name) != HEAD:
                raise RuntimeError(f"{layer.name} does not follow a convolution; cannot fold it")
