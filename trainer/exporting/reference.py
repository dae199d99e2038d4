"""What exported files are held against: the run itself, by the code that evaluates it.

Shapes: N photos, K classes, S pixels of a side.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tfrecords_builder import storage
from tfrecords_builder.manifest import Split, load_manifest
from tfrecords_builder.records import Record, read_records_at
from trainer.augment.config import Augmentation
from trainer.errors import DataError
from trainer.exporting.contract import Contract
from trainer.exporting.preparation import prepare_photo
from trainer.exporting.runtime import MAP_PHOTOS
from trainer.inference_settings import InferenceSettings
from trainer.input.canvases import Canvases, CanvasRows

if TYPE_CHECKING:
    from trainer.inference import TrainedRun


@dataclass(frozen=True, kw_only=True, slots=True)
class ProofPhotos:
    """Records as files will see them."""

    encoded: tuple[bytes, ...]
    labels: np.ndarray
    """int32 [N], -1 for none"""
    pixels: np.ndarray
    """uint8 [N, S, S, 3], by `prepare_photo`"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """What the run says about the photos."""

    on_pixels: np.ndarray
    """float64 [N, K], of the prepared pixels: what every file must say too"""
    pixel_difference: float
    """Mean, in grey levels, between prepared pixels and those of evaluation"""
    on_canvases: np.ndarray
    """float64 [N, K], as the run is evaluated: what preparing the pixels may cost shows here"""
    maps: np.ndarray
    """float32 [M, h, w, K], evidence maps of the first photos"""


def read_photos(data_dir: str, split_name: str, num: int | None, contract: Contract) -> ProofPhotos:
    """Reads `num` photos of a split, evenly spread over it, or all with None.

    Raises:
        DataError: no such split, other classes, or a record that cannot be read.
    """
    manifest = load_manifest(data_dir)
    if tuple(manifest.classes) != contract.classes:
        raise DataError(
            f"{data_dir!r} has {len(manifest.classes)} classes that are not the run's "
            f"{len(contract.classes)} in their order; files are proven on the run's own data; "
            "give it with --data"
        )
    split = find_split(data_dir, split_name)
    indices = chosen_indices(split.num_examples, num)
    records = list(_records(data_dir, split, indices))
    encoded = tuple(record.image for record in records)
    with ThreadPoolExecutor() as pool:
        prepared = list(pool.map(lambda image: prepare_photo(image, contract).pixels, encoded))
    return ProofPhotos(
        encoded=encoded,
        labels=np.array([record.label for record in records], np.int32),
        pixels=np.stack(prepared),
    )


def find_split(data_dir: str, name: str) -> Split:
    """A split that has records.

    Raises:
        DataError: there is none of that name.
    """
    manifest = load_manifest(data_dir)
    split = manifest.splits.get(name)
    if split is None or split.num_examples == 0:
        raise DataError(
            f"{data_dir!r} has no split {name!r}; it has {', '.join(manifest.splits)}; files are "
            "proven on records, and int8 is calibrated on those of train; choose a split that has "
            "some, or leave int8 out"
        )
    return split


def chosen_indices(num_examples: int, num: int | None) -> np.ndarray:
    """int64 [N], rising: all, or `num` that lie evenly over the split."""
    if num is None or num >= num_examples:
        return np.arange(num_examples)
    return np.unique(np.linspace(0, num_examples - 1, num).round().astype(np.int64))


def compute_reference(
    run: "TrainedRun",
    photos: ProofPhotos,
    data_dir: str,
    split_name: str,
    num: int | None,
    settings: InferenceSettings,
) -> Reference:
    """Runs the engine's own evaluation on both kinds of pixels."""
    from trainer.exporting.graph import on_prepared
    from trainer.input.canvases import canvas_px_of

    split = load_manifest(data_dir).splits[split_name]
    canvases = Canvases(data_dir, split, canvas_px_of(run.image_px), "none")
    try:
        chosen = _Chosen(canvases, chosen_indices(split.num_examples, num))
        on_canvases = run.logits_of(chosen, settings.views)
        pixel_difference = _pixel_difference(run, photos, chosen)
    finally:
        canvases.close()
    prepared = on_prepared(run.augmentation)
    on_pixels = run.logits_of(_Prepared(photos), settings.views, prepared)
    return Reference(
        on_pixels=settings.predict(on_pixels),
        on_canvases=settings.predict(on_canvases),
        pixel_difference=pixel_difference,
        maps=_maps(run, photos.pixels[:MAP_PHOTOS], prepared),
    )


def _maps(run: "TrainedRun", pixels: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """What the head says of each place of the last feature map, as if it were all of it."""
    import keras
    import tensorflow as tf

    from trainer.augment.batch import evaluation_batch

    model = run.network.model
    aspects = tf.ones(len(pixels))
    images = evaluation_batch(tf.constant(pixels), aspects, augmentation, run.image_px)
    features = keras.Model(model.input, model.get_layer("head_pool").input)(images, training=False)
    places = tf.reshape(features, [-1, features.shape[-1]])
    normalized = model.get_layer("head_bn")(places, training=False)
    maps = model.get_layer("head_logits")(normalized)
    return np.asarray(tf.reshape(maps, [*features.shape[:3], -1]))


def _pixel_difference(run: "TrainedRun", photos: ProofPhotos, canvases: "_Chosen") -> float:
    """Of the geometry alone, without what comes behind it."""
    import tensorflow as tf

    from trainer.augment.batch import evaluation_batch
    from trainer.engine.evaluation import EVALUATION_ROWS

    geometry = replace(run.augmentation, clahe=0.0, adaptive_gamma=0.0)
    total = 0.0
    for start in range(0, canvases.num_examples, EVALUATION_ROWS):
        rows = canvases.gather(
            np.arange(start, min(start + EVALUATION_ROWS, canvases.num_examples))
        )
        expected = evaluation_batch(
            tf.constant(rows.images), tf.constant(rows.aspects), geometry, run.image_px
        )
        found = photos.pixels[start : start + EVALUATION_ROWS]
        total += float(np.abs(expected.numpy() - found).sum())
    return total / photos.pixels.size


class _Chosen:
    """Some rows of canvases."""

    def __init__(self, canvases: Canvases, indices: np.ndarray):
        self._canvases, self._indices = canvases, indices
        self.num_examples = len(indices)
        self.dtype = canvases.dtype
        self.row_shape = canvases.row_shape

    def gather(self, indices: np.ndarray, epochs: np.ndarray | None = None) -> CanvasRows:
        return self._canvases.gather(self._indices[indices])


class _Prepared:
    """Prepared pixels in the place of canvases: squares already, so nothing is left to cut."""

    dtype = np.uint8

    def __init__(self, photos: ProofPhotos):
        self._photos = photos
        self.num_examples = len(photos.pixels)
        self.row_shape = photos.pixels.shape[1:]

    def gather(self, indices: np.ndarray, epochs: np.ndarray | None = None) -> CanvasRows:
        return CanvasRows(
            images=self._photos.pixels[indices],
            aspects=np.ones(len(indices), np.float32),
            labels=self._photos.labels[indices],
        )


def _records(data_dir: str, split: Split, indices: np.ndarray) -> Iterator[Record]:
    start = 0
    for shard in split.shards:
        rows = indices[(indices >= start) & (indices < start + shard.num_examples)] - start
        start += shard.num_examples
        if not len(rows):
            continue
        path = storage.join(data_dir, shard.file)
        with storage.local_copy(path) as local:
            yield from read_records_at(local, [shard.offsets[row] for row in rows])
