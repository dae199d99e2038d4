"""A model that names the main colour of a photo, and a service with it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.trainer.serving.running import IMAGE_PX, RunningService, make_contract, running_service
from trainer.exporting.contract import append_contract

StartService = Callable[..., RunningService]


@pytest.fixture(scope="session")
def colour_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .tflite file: the mean of each colour, and where it is."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, IMAGE_PX, IMAGE_PX, 3], tf.uint8, "image")])
    def colours(image: tf.Tensor) -> dict[str, tf.Tensor]:
        places = tf.nn.avg_pool2d(tf.cast(image, tf.float32) / 64, 2, 2, "VALID")
        return {
            "probabilities": tf.nn.softmax(tf.reduce_mean(places, [1, 2])),
            "class_activation": places,
        }

    module = tf.Module()
    folder = tmp_path_factory.mktemp("colours")
    tf.saved_model.save(module, str(folder / "saved"), signatures=colours)
    model = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved")).convert()
    path = folder / "colours.tflite"
    path.write_bytes(append_contract(model, make_contract()))
    return path


@pytest.fixture(scope="session")
def service(colour_model: Path) -> Iterator[RunningService]:
    """One for all tests that leave it as it was; small limits, to reach them with little."""
    with running_service(
        colour_model, "--max_body_mb=1", "--max_pixels=4000000", "--timeout_s=4"
    ) as running:
        yield running


@pytest.fixture
def start_service(colour_model: Path) -> Iterator[StartService]:
    """Starts a service with other flags."""
    with contextlib.ExitStack() as stack:
        yield lambda *flags: stack.enter_context(running_service(colour_model, *flags))
