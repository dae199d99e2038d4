"""Heat maps: what Grad-CAM gives for this head is known in closed form."""

import numpy as np
import pytest

from trainer.gradcam import GradCam, normalized, overlay

tf = pytest.importorskip("tensorflow")

INDICES = np.array([3, 0, 29, 7, 11, 12, 5, 6, 2, 1, 9, 8, 10, 4, 13, 14, 15, 16, 17])
CLASSES = np.arange(len(INDICES)) % 10


@pytest.fixture
def looked(cars, write_run, fresh_weights):
    from tfrecords_builder.manifest import load_manifest
    from trainer.inference import TrainedRun
    from trainer.input.canvases import Canvases, canvas_px_of

    run = TrainedRun(write_run("run", fresh_weights(0)), tf.distribute.OneDeviceStrategy("/cpu:0"))
    split = load_manifest(str(cars)).splits["val"]
    canvases = Canvases(str(cars), split, canvas_px_of(run.image_px), "memory")
    yield run, canvases
    canvases.close()


def test_for_an_affine_head_it_is_the_class_activation_map(looked) -> None:
    """Zhou et al., CVPR 2016: the map is the features weighted as the last layer weighs them."""
    import keras

    run, canvases = looked
    looks = GradCam(run).look(canvases, INDICES, CLASSES)
    model = run.network.model
    trunk = keras.Model(model.input, model.get_layer("head_pool").input)
    features = np.asarray(trunk(looks.images.astype(np.float32), training=False))
    normalization, dense = model.get_layer("head_bn"), model.get_layer("head_logits")
    scale = normalization.gamma.numpy() / np.sqrt(
        normalization.moving_variance.numpy() + normalization.epsilon
    )
    weights = (dense.kernel.numpy() * scale[:, None])[:, CLASSES]
    expected = normalized(np.maximum(np.einsum("nhwc,cn->nhw", features, weights), 0))
    # Where nothing speaks for the class, the map is 0.
    assert set(looks.maps.max(axis=(1, 2)).tolist()) <= {0.0, 1.0}
    assert looks.maps.max(axis=(1, 2)).mean() > 0.8
    # The images came back rounded to whole grey levels.
    np.testing.assert_allclose(looks.maps, expected, atol=0.02)


def test_photos_come_back_in_the_order_asked_for(looked) -> None:
    run, canvases = looked
    grad_cam = GradCam(run)
    together = grad_cam.look(canvases, INDICES, CLASSES)
    alone = grad_cam.look(canvases, INDICES[17:18], CLASSES[17:18])
    assert together.images.shape == (19, 32, 32, 3)
    np.testing.assert_array_equal(together.images[17], alone.images[0])
    np.testing.assert_allclose(together.maps[17], alone.maps[0], atol=1e-6)


def test_the_class_asked_for_decides_where_it_looks(looked) -> None:
    run, canvases = looked
    same_photo = np.zeros(2, np.int64)
    first, second = GradCam(run).look(canvases, same_photo, np.array([0, 1])).maps
    assert not np.allclose(first, second, atol=0.1)


def test_map_of_zeros_stays_one() -> None:
    maps = normalized(np.stack([np.zeros((2, 2)), np.eye(2) * 4]))
    np.testing.assert_array_equal(maps, [np.zeros((2, 2)), np.eye(2)])


def test_overlay_leaves_cold_places_as_they_are() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    heat = np.zeros((4, 4), np.float32)
    np.testing.assert_array_equal(overlay(image, heat), image)
    heat[3, 3] = 1
    changed = (overlay(image, heat) != image).any(axis=2)
    assert changed[28, 28]
    assert not changed[:12, :12].any()
