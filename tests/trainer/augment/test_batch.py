"""The whole chain: off means evaluation, seeds mean examples, and XLA agrees."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.augment.configurations import ALWAYS, EVERYTHING, SINGLE, make_config
from tests.trainer.augment.conftest import Batch
from trainer.augment.batch import augment_batch, evaluation_batch
from trainer.augment.config import VIEWS, Augmentation

IMAGE_PX = 32


def _augment(batch: Batch, fields: dict, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
    parts = [tf.constant(part[rows]) for part in batch]
    return augment_batch(*parts, make_config(fields), IMAGE_PX)[0].numpy()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("resize", "fields"), [("squash", {}), ("center_crop", ALWAYS), ("pad", {})]
)
def test_off_gives_exactly_the_evaluation_pixels(
    batch: Batch, resize: str, compiled: bool, fields: dict
) -> None:
    config = Augmentation(resize=resize, pad_value=30, **fields)
    augment = tf.function(
        lambda *parts: augment_batch(*parts, config, IMAGE_PX)[0], jit_compile=compiled
    )
    evaluate = tf.function(
        lambda *parts: evaluation_batch(*parts, config, IMAGE_PX), jit_compile=compiled
    )
    np.testing.assert_array_equal(augment(*batch), evaluate(batch.canvases, batch.aspect))


def test_evaluation_ignores_random_operations(batch: Batch) -> None:
    plain = evaluation_batch(batch.canvases, batch.aspect, Augmentation(), IMAGE_PX)
    config = Augmentation.from_strength(1.0, shift=0.2, zoom=0.2, clahe=0.5, mixup_alpha=1.0)
    np.testing.assert_array_equal(
        evaluation_batch(batch.canvases, batch.aspect, config, IMAGE_PX), plain
    )


@pytest.mark.parametrize(
    "name", [name for name in SINGLE if name not in ("off", "center_crop", "pad")]
)
def test_operation_does_something(batch: Batch, name: str) -> None:
    off = {key: value for key, value in SINGLE[name].items() if key == "resize"}
    assert np.abs(_augment(batch, SINGLE[name]) - _augment(batch, off)).max() > 3


@pytest.mark.parametrize("name", list(SINGLE))
def test_result_does_not_depend_on_place_or_companions(batch: Batch, name: str) -> None:
    whole = _augment(batch, SINGLE[name])
    order = np.array([5, 2, 7])
    np.testing.assert_allclose(_augment(batch, SINGLE[name], order), whole[order], atol=1e-3)


@pytest.mark.parametrize("num_replicas", [2, 4])
def test_pairs_are_the_same_on_any_number_of_replicas(batch: Batch, num_replicas: int) -> None:
    whole = _augment(batch, EVERYTHING)
    size = len(whole) // num_replicas
    parts = [
        _augment(batch, EVERYTHING, slice(start, start + size))
        for start in range(0, len(whole), size)
    ]
    difference = np.abs(np.concatenate(parts) - whole)
    assert (difference < 0.02).mean() > 0.99


def test_another_seed_gives_another_result(batch: Batch) -> None:
    other = batch._replace(seeds=batch.seeds + 1)
    crop = SINGLE["crop"]
    assert np.abs(_augment(batch, crop) - _augment(other, crop)).max((1, 2, 3)).min() > 1


@pytest.mark.parametrize(
    "fields", [{}, EVERYTHING, SINGLE["rotation_of_padded"]], ids=["off", "everything", "padded"]
)
def test_compiles_with_static_shapes_and_agrees(batch: Batch, fields: dict) -> None:
    config = make_config(fields)
    function = tf.function(lambda *parts: augment_batch(*parts, config, IMAGE_PX), jit_compile=True)
    concrete = function.get_concrete_function(*batch)
    assert [tuple(output.shape) for output in concrete.outputs] == [
        (8, IMAGE_PX, IMAGE_PX, 3),
        (8, 4),
    ]
    assert {output.dtype for output in concrete.outputs} == {tf.float32}
    difference = np.abs(function(*batch)[0] - _augment(batch, fields))
    # CLAHE works on whole levels: a luma at one half may fall to the other side.
    assert (difference < 0.02).mean() > (0.99 if "clahe" in fields else 0.999999)


def test_everything_is_everything() -> None:
    off, on = dataclasses.asdict(Augmentation()), dataclasses.asdict(make_config(EVERYTHING))
    evaluation = {"resize", "center_fraction", "pad_value"}
    settings = {"clahe_clip_limit", "erasing_area", "erasing_ratio", "mix_probability"}
    assert {name for name in off if on[name] == off[name]} == evaluation | settings


@pytest.mark.parametrize("name", ["crop", "pad", "rotation", "rotation_of_padded", "erasing"])
def test_both_kernels_give_the_same_pixels(batch: Batch, name: str) -> None:
    config = make_config(SINGLE[name])
    by_matrix, by_gather = (
        augment_batch(*batch, config, IMAGE_PX, kernels)[0] for kernels in ("matrix", "gather")
    )
    np.testing.assert_allclose(by_matrix, by_gather, atol=0.05)


def test_always_reaches_evaluation(batch: Batch) -> None:
    plain, always = (
        evaluation_batch(batch.canvases, batch.aspect, Augmentation(**fields), IMAGE_PX).numpy()
        for fields in ({}, ALWAYS)
    )
    assert np.abs(plain - always).mean((1, 2, 3)).min() > 1


def test_off_is_off_in_the_graph(batch: Batch) -> None:
    def num_nodes(config: Augmentation) -> int:
        function = tf.function(lambda *parts: augment_batch(*parts, config, IMAGE_PX))
        return len(function.get_concrete_function(*batch).graph.as_graph_def().node)

    assert num_nodes(Augmentation()) < num_nodes(Augmentation(mirror=0.5)) / 1.5


@pytest.mark.parametrize("name", list(VIEWS))
def test_views_have_the_evaluation_shape(batch: Batch, name: str) -> None:
    for view in VIEWS[name]:
        images = evaluation_batch(batch.canvases, batch.aspect, Augmentation(), IMAGE_PX, view)
        assert images.shape == (8, IMAGE_PX, IMAGE_PX, 3)


def test_mirrored_view_is_the_reversed_picture(batch: Batch) -> None:
    plain, mirrored = (
        evaluation_batch(batch.canvases, batch.aspect, Augmentation(), IMAGE_PX, view).numpy()
        for view in VIEWS["mirror"]
    )
    np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])


@pytest.mark.parametrize(
    "canvases",
    [
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((2, 8, 9, 3), np.uint8),
        np.zeros((2, 8, 8, 1), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
    ],
)
def test_wrong_canvases_are_refused(canvases: np.ndarray) -> None:
    with pytest.raises(ValueError, match="canvases"):
        evaluation_batch(canvases, np.ones(2, np.float32), Augmentation(), 8)


@pytest.mark.parametrize("resize", ["squash", "center_crop", "pad"])
@pytest.mark.parametrize("aspect", [1e-4, 1e4])
def test_extreme_photos_give_finite_pictures(resize: str, aspect: float) -> None:
    canvases = np.full((1, 16, 16, 3), 200, np.uint8)
    config = Augmentation.from_strength(1.0, resize=resize)
    parts = (canvases, np.float32([aspect]), np.ones((1, 2), np.float32), np.ones((1, 2), np.int32))
    images = augment_batch(*(tf.constant(part) for part in parts), config, 8)[0].numpy()
    assert np.isfinite(images).all()
    assert images.min() >= 0
    assert images.max() <= 255
