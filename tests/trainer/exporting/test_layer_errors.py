"""The layers that lose most are found on a network of which one layer was spoilt."""

from dataclasses import replace

import numpy as np
import pytest

from trainer.exporting.layer_errors import layer_errors, own_losses
from trainer.exporting.plain_network import Operation

BRANCHES = (
    Operation(kind="conv", name="trunk", inputs=("pixels",)),
    Operation(kind="conv", name="branch", inputs=("trunk",)),
    Operation(kind="sigmoid", name="gate", inputs=("branch",)),
    Operation(kind="multiply", name="product", inputs=("trunk", "gate")),
)


def test_what_the_inputs_have_lost_is_taken_off():
    losses = own_losses(BRANCHES, {"trunk": 0.5, "branch": 0.1, "gate": 0.2, "product": 0.6})
    assert losses == pytest.approx({"trunk": 0.5, "branch": 0.0, "gate": 0.1, "product": 0.1})


def test_a_layer_that_was_joined_to_another_is_as_far_off_as_its_inputs():
    losses = own_losses(BRANCHES, {"trunk": 0.5, "product": 0.6})
    assert losses == pytest.approx({"trunk": 0.5, "product": 0.1})


def tiny_pixel_model(views):
    from tests.trainer.conftest import tiny_recipe
    from trainer.augment.config import Augmentation
    from trainer.exporting.graph import PixelModel
    from trainer.exporting.plain_network import flatten
    from trainer.inference_settings import InferenceSettings
    from trainer.metrics.choice import Candidate
    from trainer.network.build import build_network

    settings = InferenceSettings(
        weights_sha256="ab",
        views=views,
        average=Candidate(name="some", weights=(1.0,) * len(views)),
    )
    network = flatten(build_network(tiny_recipe(), 3, 32).model)
    return PixelModel(network, Augmentation(), settings)


def features_of(model, pixels, views):
    import tensorflow as tf

    for view in views:
        features = model.features(tf.constant(pixels), view)
        yield {name: tensor.numpy() for name, tensor in features.items()}


PIXELS = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["none", "float16", "dynamic", "int8"])
def test_the_layer_that_was_spoilt_stands_first(quantization: str):
    from trainer.augment.config import IDENTITY, View
    from trainer.exporting.graph import PixelModel
    from trainer.exporting.litert import LiteRtWriter
    from trainer.exporting.remedies import REMEDIES

    views = (IDENTITY, View(mirror=True))
    right = tiny_pixel_model(views)
    network = right.network
    index = next(i for i, op in enumerate(network.operations) if op.name == "block2b_expand_conv")
    kernel = network.operations[index].kernel
    noise = np.random.default_rng(0).normal(scale=kernel.std(), size=kernel.shape)
    spoilt = replace(network.operations[index], kernel=(kernel + noise).astype(np.float32))
    operations = (*network.operations[:index], spoilt, *network.operations[index + 1 :])
    wrong = PixelModel(
        replace(network, operations=operations), right._augmentation, right._settings
    )
    writer = LiteRtWriter(wrong)
    file = (
        writer.quantize(REMEDIES[0], PIXELS)
        if quantization == "int8"
        else writer.convert(quantization)
    )
    writer.close()
    errors = layer_errors(file, network, features_of(right, PIXELS, views), PIXELS)
    # None is missing: a convolution's kernel bears its name too, but is not its result.
    assert errors.keys() == {operation.name for operation in network.operations}
    ranked = sorted(errors, key=lambda name: -errors[name])
    assert ranked[0] == "block2b_expand_conv", errors
    assert errors[ranked[0]] > 5 * errors[ranked[1]], errors


@pytest.mark.slow
def test_every_view_is_held_against_its_own_features():
    from trainer.augment.config import IDENTITY, View
    from trainer.exporting.litert import LiteRtWriter

    views = (View(mirror=True), IDENTITY)
    model = tiny_pixel_model(views)
    writer = LiteRtWriter(model)
    file = writer.convert("none")
    writer.close()
    errors = layer_errors(file, model.network, features_of(model, PIXELS, views), PIXELS)
    assert max(errors.values()) < 1e-4
    turned = features_of(model, PIXELS, views[::-1])
    assert layer_errors(file, model.network, turned, PIXELS)["scaling"] > 0.1
