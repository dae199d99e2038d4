"""One set of weights is one function, whatever the way in."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.trainer.weights import tf1, written
from trainer.network.build import Network, build_network
from trainer.recipe import Recipe, Stage
from trainer.weights import load_weights
from trainer.weights.backbones import trunk_shapes
from trainer.weights.checkpoint import checkpoint_keys

keras = pytest.importorskip("keras")
B0 = "EfficientNetB0"
IMAGE_PX = 64


def network_with(source: Path, backbone: str) -> Network:
    stage = Stage(
        name="only", image_px=64, batch_size=2, epochs=1, learning_rate=0.1, train_from="head"
    )
    recipe = Recipe(name="test", summary="", backbone=backbone, stages=(stage,))
    network = build_network(recipe, num_classes=2, image_px=IMAGE_PX)
    variables = network.variables()
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    for name, values in load_weights(str(source), backbone, shapes).arrays.items():
        variables[name].assign(values)
    return network


def features(network: Network, pixels: np.ndarray) -> np.ndarray:
    model = keras.Model(network.model.input, network.model.get_layer("top_activation").output)
    return model(pixels, training=False).numpy()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (2, IMAGE_PX, IMAGE_PX, 3)).astype(np.float32)


def test_all_formats_give_the_same_numbers(tmp_path: Path, b0) -> None:
    pytest.importorskip("tensorflow")
    by_tf1_name = {
        name: b0[key] for name, key in checkpoint_keys(tf1.variable_shapes(0)).items() if key in b0
    }
    (tmp_path / "run").mkdir()
    save_file(b0, tmp_path / "run" / "model.safetensors")
    written.write_numbered_weights(tmp_path / "numbered.weights.h5", b0)
    sources = [
        written.write_keras2_weights(tmp_path / "weights.h5", b0),
        written.write_keras2_model(tmp_path / "model.hdf5", b0),
        tmp_path / "numbered.weights.h5",
        written.write_numbered_archive(tmp_path / "model.keras", b0),
        tf1.write_checkpoint(tmp_path / "model.ckpt", by_tf1_name),
        tmp_path / "run",
    ]
    for source in sources:
        arrays = load_weights(str(source), B0, trunk_shapes(B0)).arrays
        different = [key for key in b0 if not np.array_equal(arrays[key], b0[key])]
        assert different == [], source.name


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_first_family_is_what_keras_builds_for_imagenet(tmp_path, monkeypatch, pixels) -> None:
    """`weights="imagenet"` alone adds Keras' second rescaling: that graph is the right one."""
    kwargs = {"include_top": False, "input_shape": (IMAGE_PX, IMAGE_PX, 3)}
    donor = keras.applications.EfficientNetB0(weights=None, **kwargs)
    scaling = next(x for x in donor.layers if isinstance(x, keras.layers.Normalization))
    scaling = {variable.name: variable for variable in scaling.variables}
    scaling["mean"].assign([0.485, 0.456, 0.406])
    # The published files hold the standard deviation here, although the layer takes its root.
    scaling["variance"].assign([0.229, 0.224, 0.225])
    path = tmp_path / "b0.weights.h5"
    donor.save_weights(path)
    from keras.src.utils import file_utils

    monkeypatch.setattr(file_utils, "get_file", lambda *args, **kwargs: str(path))
    theirs = keras.applications.EfficientNetB0(weights="imagenet", **kwargs)(pixels).numpy()
    ours = features(network_with(path, B0), pixels)
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    wrong = keras.applications.EfficientNetB0(weights=str(path), **kwargs)(pixels).numpy()
    assert np.abs(wrong - theirs).max() > 0.01 * np.abs(theirs).max(), "the trap is gone"


def test_second_family_is_what_keras_builds(material: Path, pixels) -> None:
    path = material / "weights" / "efficientnetv2-b0_notop.h5"
    theirs = keras.applications.EfficientNetV2B0(
        include_top=False, weights=str(path), input_shape=(IMAGE_PX, IMAGE_PX, 3)
    )
    expected = theirs(pixels).numpy()
    ours = features(network_with(path, "EfficientNetV2B0"), pixels)
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())
