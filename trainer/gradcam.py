"""Where a network looks when it names a class: Grad-CAM, in batches, with the network itself.

Source: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization, ICCV 2017 (arXiv 1610.02391).

Shapes: N photos, B rows of a batch, H and W of the last feature map, C its channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from trainer.input.canvases import Examples

if TYPE_CHECKING:
    from trainer.inference import TrainedRun

_ROWS = 16
"""Of a batch, always: short ones are padded, so the graph is traced once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Looks:
    """What the network saw of some photos, and where the evidence for a class lay."""

    images: np.ndarray
    """uint8 [N, px, px, 3], as the network received them."""
    maps: np.ndarray
    """float32 [N, H, W] in [0, 1]; 1 is the strongest place of the photo, all 0 where nothing
    speaks for the class."""
    aspects: np.ndarray
    """float32 [N]: width over height of the photos."""


class GradCam:
    """The heat maps of a run's network, in the geometry in which it is evaluated.

    Args:
        run: its strategy computes; every replica computes the whole batch.
    """

    def __init__(self, run: "TrainedRun"):
        self._strategy = run.strategy
        self._compute = _make_computation(run)

    def look(self, examples: Examples, indices: np.ndarray, classes: np.ndarray) -> Looks:
        """Looks at some photos.

        Args:
            examples: canvases of a split.
            indices: of records in it, int64 [N].
            classes: whose evidence is wanted for each, [N].
        """
        images, maps, aspects = [], [], []
        for start in range(0, len(indices), _ROWS):
            wanted = np.asarray(indices[start : start + _ROWS], np.int64)
            padding = np.zeros(_ROWS - len(wanted), np.int64)
            rows = examples.gather(np.concatenate([wanted, padding + wanted[0]]))
            targets = np.concatenate([np.asarray(classes[start : start + _ROWS]), padding])
            result = self._strategy.run(
                self._compute, (rows.images, rows.aspects, targets.astype(np.int32))
            )
            seen, raw = (
                self._strategy.experimental_local_results(part)[0].numpy()[: len(wanted)]
                for part in result
            )
            images.append(np.clip(np.rint(seen), 0, 255).astype(np.uint8))
            maps.append(normalized(raw))
            aspects.append(rows.aspects[: len(wanted)])
        return Looks(
            images=np.concatenate(images),
            maps=np.concatenate(maps),
            aspects=np.concatenate(aspects),
        )


def look_at_records(
    run: "TrainedRun", data_dir: str, split_name: str, indices: np.ndarray, classes: np.ndarray
) -> Looks:
    """Looks at some records of a split; see `GradCam.look`."""
    from tfrecords_builder.manifest import load_manifest
    from trainer.input.canvases import Canvases, canvas_px_of

    split = load_manifest(data_dir).splits[split_name]
    canvases = Canvases(data_dir, split, canvas_px_of(run.image_px), "none")
    looks = GradCam(run).look(canvases, indices, classes)
    canvases.close()
    return looks


def normalized(maps: np.ndarray) -> np.ndarray:
    """Divides each map [N, H, W], >= 0, by its largest value; maps of zeros stay."""
    largest = maps.max(axis=(1, 2), keepdims=True)
    return np.asarray(maps / np.where(largest > 0, largest, 1), np.float32)


def overlay(image: np.ndarray, heat: np.ndarray, opacity: float = 0.7) -> np.ndarray:
    """The photo with its heat map on it.

    Args:
        image: uint8 [px, px, 3].
        heat: float32 [H, W] in [0, 1]; enlarged smoothly to the size of the image.
        opacity: of the hottest places; cold ones keep the photo as it is.

    Returns:
        uint8 [px, px, 3].
    """
    import matplotlib

    height, width = image.shape[:2]
    enlarged = np.asarray(
        Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    ).clip(0, 1)
    colors = matplotlib.colormaps["inferno"](0.4 + 0.5 * enlarged)[..., :3] * 255
    share = opacity * enlarged[..., None]
    return np.asarray(np.rint(image * (1 - share) + colors * share), np.uint8)


def _make_computation(run: "TrainedRun") -> Callable[..., Any]:
    import keras
    import tensorflow as tf

    from trainer.augment.batch import evaluation_batch

    model = run.network.model
    features = model.get_layer("head_pool").input
    with run.strategy.scope():
        trunk = keras.Model(model.input, features, name="to_last_feature_map")
        head = keras.Model(features, model.output, name="from_last_feature_map")

    @tf.function(autograph=False)
    def compute(
        canvases: tf.Tensor, aspects: tf.Tensor, classes: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images = evaluation_batch(canvases, aspects, run.augmentation, run.image_px)
        maps = tf.cast(trunk(images, training=False), tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(maps)
            scores = tf.gather(head(maps, training=False), classes, axis=1, batch_dims=1)
        # alpha of equation 1, then the rectified sum of equation 2.
        weights = tf.reduce_mean(tape.gradient(scores, maps), axis=(1, 2))
        return images, tf.nn.relu(tf.einsum("bhwc,bc->bhw", maps, weights))

    return compute
