"""The network: input scaling, the cut between frozen and trained, folding, dropout."""

import dataclasses
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.making import make_recipe, make_stage
from trainer.errors import RecipeError
from trainer.network.backbones import (
    BACKBONES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    block_names,
    check_backbone,
    check_network,
)
from trainer.network.build import Network, build_network, cut_for_stage
from trainer.network.layers import (
    FoldingBatchNormalization,
    SeededDropout,
    counted_rows,
    dropout_seeds,
)

PX = 32


def random_weights(network: Network, seed: int) -> dict[str, np.ndarray]:
    """Fresh kernels, and BatchNorm variables away from 0 and 1, so that every one matters."""
    rng = np.random.default_rng(seed)
    return {
        name: np.asarray(variable)
        + (rng.uniform(0.0, 0.4, variable.shape) if "_bn/" in name else 0.0)
        for name, variable in network.variables().items()
    }


def assign(network: Network, arrays: dict[str, np.ndarray]) -> None:
    for name, variable in network.variables().items():
        variable.assign(arrays[name])


def pixels(num: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (num, PX, PX, 3)).astype(np.float32)


@pytest.fixture(scope="module", params=["EfficientNetB0", "EfficientNetV2B0"])
def backbone_and_reference(request: pytest.FixtureRequest) -> tuple[Network, keras.Model]:
    """Our network, and Keras' own without any preprocessing, both with the same weights."""
    keras.utils.set_random_seed(1)
    network = build_network(make_recipe(backbone=request.param), 4, PX)
    whole = getattr(keras.applications, request.param)(
        include_top=False, weights=None, input_shape=(PX, PX, 3)
    )
    first = next(layer for layer in whole.layers if layer.name.startswith("stem"))
    reference = keras.Model(first.input, whole.output)
    arrays = random_weights(network, seed=2)
    assign(network, arrays)
    for layer in whole.layers:
        for variable in layer.variables:
            name = f"{layer.name}/{variable.name}"
            if (
                layer.name.startswith(("stem", "block", "top"))
                and "seed_generator" not in variable.path
            ):
                variable.assign(arrays[name])
    return network, reference


def features(network: Network, images: np.ndarray) -> np.ndarray:
    head = network.model.get_layer("head_pool")
    return np.asarray(keras.Model(network.model.input, head.input)(images, training=False))


def test_pixels_are_scaled_by_mean_and_deviation(
    backbone_and_reference: tuple[Network, keras.Model],
) -> None:
    network, reference = backbone_and_reference
    scaled = (pixels() / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    expected = np.asarray(reference(scaled.astype(np.float32), training=False))
    np.testing.assert_allclose(
        features(network, pixels()), expected, rtol=2e-3, atol=1e-4 * np.abs(expected).max()
    )


# Keras 3.15 saves variables through NumPy's older array protocol.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")
def test_scaling_survives_save_and_reload(
    backbone_and_reference: tuple[Network, keras.Model], tmp_path: object
) -> None:
    network, _ = backbone_and_reference
    path = f"{tmp_path}/model.keras"
    network.model.save(path)
    reloaded = keras.saving.load_model(path)
    np.testing.assert_array_equal(
        np.asarray(reloaded(pixels(), training=False)),
        np.asarray(network.model(pixels(), training=False)),
    )


@pytest.mark.parametrize("name", ["EfficientNetV2S"])
def test_the_large_second_version_scales_to_minus_one_to_one(name: str) -> None:
    network = build_network(make_recipe(backbone=name), 2, PX)
    scaling = keras.Model(network.model.input, network.model.get_layer("scaling").output)
    np.testing.assert_allclose(np.asarray(scaling(pixels())), pixels() / 128 - 1, atol=1e-5)


def test_every_backbone_is_one_of_keras_or_ours() -> None:
    assert all(name == "Tiny" or hasattr(keras.applications, name) for name in BACKBONES)
    with pytest.raises(RecipeError, match="did you mean 'EfficientNetB5'"):
        check_backbone("EficientNetB5")


@pytest.fixture(scope="module")
def tiny() -> Network:
    keras.utils.set_random_seed(3)
    network = build_network(make_recipe(drop_connect=0.5), 4, PX)
    assign(network, random_weights(network, seed=4))
    return network


@pytest.mark.parametrize("train_from", ["all", "block1b", "block3a", "top", "head"])
def test_a_cut_network_computes_the_same(tiny: Network, train_from: str) -> None:
    expected = np.asarray(tiny.model(pixels(), training=False))
    cut = cut_for_stage(tiny, make_stage(train_from=train_from))
    inputs = pixels() if cut.frozen is None else cut.frozen(pixels(), training=False)
    np.testing.assert_allclose(
        np.asarray(cut.trained(inputs, training=False)), expected, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("train_from", ["all", "block2a", "head"])
@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_each_variable_is_matched_by_one_rule(
    tiny: Network, train_from: str, batch_norm: str
) -> None:
    cut = cut_for_stage(tiny, make_stage(train_from=train_from, batch_norm=batch_norm))
    blocks = tiny.blocks[tiny.blocks.index({"all": "stem"}.get(train_from, train_from)) :]
    for name in tiny.variables():
        layer = name.split("/")[0]
        above = layer.startswith(blocks)
        is_norm = layer.endswith("_bn")
        trains = above and (not is_norm or batch_norm == "train" or layer.startswith("head"))
        assert (name in cut.trainable) == (trains and "moving" not in name), name
        assert (name in cut.statistics) == (trains and "moving" in name), name


def test_depth_counts_blocks_below_the_head(tiny: Network) -> None:
    cut = cut_for_stage(tiny, make_stage(train_from="block4a"))
    assert {name.split("_")[0]: depth for name, depth in cut.depth.items()} == {
        "head": 0,
        "top": 1,
        "block4b": 2,
        "block4a": 3,
    }


def test_gradients_through_folded_layers_equal_those_through_batch_norm(tiny: Network) -> None:
    cut = cut_for_stage(tiny, make_stage(train_from="block3a"))
    kernels = [variable for name, variable in cut.trainable.items() if name.endswith("conv/kernel")]
    folding = [layer for layer in tiny.model.layers if getattr(layer, "folded", False)]
    assert folding

    def gradients() -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            inputs = cut.frozen(pixels(), training=False)
            total = tf.reduce_sum(cut.trained(inputs, training=False) ** 2)
        return [
            np.asarray(gradient)
            for gradient in tape.gradient(total, [kernel.value for kernel in kernels])
        ]

    folded = gradients()
    for layer in folding:
        layer.folded = False
    plain = gradients()
    for ours, expected in zip(folded, plain, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=2e-2, atol=2e-3 * np.abs(expected).max())


def test_unknown_block_names_the_nearest(tiny: Network) -> None:
    message = r"stage 'finish': train_from='block3'.*did you mean 'block3[ab]'"
    recipe = make_recipe(make_stage(train_from="block3"))
    with pytest.raises(RecipeError, match=message):
        cut_for_stage(tiny, recipe.stages[0])
    with pytest.raises(RecipeError, match=message):
        check_network(recipe)


@pytest.mark.parametrize("name", ["EfficientNetB0", "EfficientNetV2B0", "EfficientNetV2S", "Tiny"])
def test_blocks_are_known_before_anything_is_built(name: str) -> None:
    assert block_names(name) == build_network(make_recipe(backbone=name), 2, PX).blocks


def test_dropout_is_a_function_of_the_example_seed() -> None:
    layer = SeededDropout(0.5, number=3)
    seeds = np.array([[1, 2], [3, 4], [5, 6]], np.int32)

    def drop(rows: list[int]) -> np.ndarray:
        with dropout_seeds(tf.constant(seeds[rows])):
            return np.asarray(layer(tf.ones([len(rows), 400]), training=True))

    together, alone = drop([0, 1, 2]), drop([1])
    np.testing.assert_array_equal(together[1], alone[0])
    assert set(np.unique(together)) == {0.0, 2.0}
    assert abs(together.mean() - 1) < 0.1
    assert not np.array_equal(together[0], together[1])


def test_dropout_layers_of_one_network_draw_apart() -> None:
    seeds = tf.constant([[1, 2]])
    with dropout_seeds(seeds):
        masks = [
            np.asarray(SeededDropout(0.5, number)(tf.ones([1, 400]), training=True))
            for number in (1, 2)
        ]
    assert not np.array_equal(*masks)


def test_stochastic_depth_drops_whole_examples() -> None:
    layer = SeededDropout(0.5, number=1, whole_example=True)
    seeds = np.stack([np.arange(64), np.zeros(64)], axis=1).astype(np.int32)
    with dropout_seeds(tf.constant(seeds)):
        outputs = np.asarray(layer(tf.ones([64, 2, 2, 3]), training=True)).reshape(64, -1)
    assert all(len(set(row)) == 1 for row in outputs)
    assert 0.25 < (outputs[:, 0] == 0).mean() < 0.75


def test_rows_that_only_fill_a_share_do_not_count_in_batch_norm() -> None:
    images = np.random.default_rng(0).normal(3, 2, [5, 4, 4, 6]).astype(np.float32)
    filled = np.concatenate([images, images[:1], images[:1]])

    def normalize(inputs: np.ndarray, rows: list[int] | None) -> tuple[np.ndarray, ...]:
        layer = FoldingBatchNormalization(momentum=0.5)
        with counted_rows(None if rows is None else tf.constant(rows, tf.float32)):
            outputs = np.asarray(layer(tf.constant(inputs), training=True))
        return outputs[:5], layer.moving_mean.numpy(), layer.moving_variance.numpy()

    alone, together = normalize(images, None), normalize(filled, [1, 1, 1, 1, 1, 0, 0])
    for ours, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
    _, mean, variance = normalize(filled, [0] * 7)
    np.testing.assert_array_equal(mean, np.zeros(6))
    np.testing.assert_array_equal(variance, np.ones(6))


def test_precision_keeps_logits_and_scaling_in_float32() -> None:
    network = build_network(dataclasses.replace(make_recipe(), precision="mixed_bfloat16"), 4, PX)
    assert network.model.get_layer("block1a_project_conv").compute_dtype == "bfloat16"
    assert network.model.get_layer("head_logits").compute_dtype == "float32"
    assert network.model.get_layer("scaling").compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_fresh_weights_depend_on_seed_and_name_alone() -> None:
    def kernels(seed: int) -> dict[str, np.ndarray]:
        network = build_network(make_recipe(), 4, PX, seed)
        return {name: np.asarray(v) for name, v in network.variables().items() if "kernel" in name}

    first = kernels(1)
    random.random()
    keras.utils.set_random_seed(99)
    again, other = kernels(1), kernels(2)
    for name, kernel in first.items():
        np.testing.assert_array_equal(again[name], kernel, err_msg=name)
        assert not np.array_equal(other[name], kernel), name
