"""Canvases and the feed: each photo decoded once, every example where the order says."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.making import build_cars, make_recipe, make_stage
from tfrecords_builder.manifest import Manifest, load_manifest
from tfrecords_builder.records import read_records
from trainer.input.canvases import Canvases, canvas_px_of
from trainer.input.decoding import decode_canvas
from trainer.input.feed import evaluation_feed, example_seeds, replica_rows, train_feed
from trainer.order import Order, Windows
from trainer.plan import plan_stages


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_cars(tmp_path_factory.mktemp("input") / "data")


@pytest.fixture(scope="module")
def manifest(data_dir: Path) -> Manifest:
    return load_manifest(str(data_dir))


@pytest.mark.parametrize("image_px", [32, 64, 224, 288, 456])
def test_canvases_are_a_little_larger_than_images(image_px: int) -> None:
    assert image_px * 1.1 < canvas_px_of(image_px) <= image_px * 8 / 7 + 8
    assert canvas_px_of(image_px) % 8 == 0


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_rows_are_the_records_in_any_cache(cache: str, data_dir: Path, manifest: Manifest) -> None:
    split = manifest.splits["train"]
    records = [r for shard in split.shards for r in read_records(data_dir / shard.file)]
    canvases = Canvases(str(data_dir), split, 24, cache, num_threads=2)
    indices = np.array([5, 0, 5, split.num_examples - 1])
    for _ in range(2):
        rows = canvases.gather(indices)
        for row, index in enumerate(indices):
            canvas, aspect = decode_canvas(records[index].image, 24)
            np.testing.assert_array_equal(rows.images[row], canvas)
            assert rows.aspects[row] == np.float32(aspect)
            assert rows.labels[row] == records[index].label
            assert canvases.ids[index] == records[index].id
    canvases.close()


def test_a_photo_is_decoded_once(
    data_dir: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counting(
        data: bytes, canvas_px: int, out: np.ndarray | None = None
    ) -> tuple[np.ndarray, float]:
        calls.append(canvas_px)
        return decode_canvas(data, canvas_px, out)

    monkeypatch.setattr("trainer.input.canvases.decode_canvas", counting)
    canvases = Canvases(str(data_dir), manifest.splits["val"], 16, "memory")
    for _ in range(3):
        canvases.gather(np.arange(canvases.num_examples))
    assert len(calls) == canvases.num_examples


def test_seeds_belong_to_run_epoch_and_record() -> None:
    epochs, indices = np.repeat(np.arange(3), 4), np.tile(np.arange(4), 3)
    seeds = example_seeds(7, epochs, indices)
    assert seeds.dtype == np.int32
    assert len({tuple(seed) for seed in seeds}) == 12
    np.testing.assert_array_equal(seeds[5:6], example_seeds(7, epochs[5:6], indices[5:6]))
    assert not np.array_equal(seeds, example_seeds(8, epochs, indices))


def one_device() -> tf.distribute.Strategy:
    return tf.distribute.OneDeviceStrategy("/cpu:0")


def test_the_feed_follows_the_order_from_any_step(data_dir: Path, manifest: Manifest) -> None:
    split = manifest.splits["train"]
    canvases = Canvases(str(data_dir), split, 16, "memory")
    (plan,) = plan_stages(
        make_recipe(make_stage(batch_size=20)), num_examples=split.num_examples, num_replicas=1
    )
    order = Order(seed=3, num_examples=split.num_examples, batch_size=20, num_epochs=2)
    for first_step in (0, 3):
        feed = train_feed(one_device(), canvases, order, plan, 3, first_step)
        for step in range(first_step, plan.num_steps):
            batch, rows = next(feed), order.batch(step)
            expected = example_seeds(3, rows.epochs, rows.indices)
            np.testing.assert_array_equal(batch.weights, rows.weights)
            np.testing.assert_array_equal(batch.seeds, expected)
            np.testing.assert_array_equal(batch.labels, canvases.gather(rows.indices).labels)


@pytest.mark.parametrize("replica_batch", [1, 4, 6, 50])
def test_evaluation_sees_every_example_once(
    replica_batch: int, data_dir: Path, manifest: Manifest
) -> None:
    canvases = Canvases(str(data_dir), manifest.splits["val"], 16, "memory")
    batches = list(evaluation_feed(one_device(), canvases, replica_batch))
    weights = np.concatenate([batch.weights for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])
    assert weights.sum() == canvases.num_examples
    assert (weights[: canvases.num_examples] == 1).all()
    np.testing.assert_array_equal(labels[: canvases.num_examples], canvases.labels)


@pytest.mark.parametrize("num_replicas", [1, 2, 4])
@pytest.mark.parametrize("windowed", [False, True])
def test_replicas_share_the_same_global_batches(
    num_replicas: int, windowed: bool, data_dir: Path, manifest: Manifest
) -> None:
    num_examples = manifest.splits["train"].num_examples
    canvases = Canvases(str(data_dir), manifest.splits["train"], 16, "memory")
    (plan,) = plan_stages(
        make_recipe(make_stage(batch_size=8)), num_examples=num_examples, num_replicas=num_replicas
    )
    windows = Windows(shard_examples=(num_examples - 30, 20, 10), shards_per_window=2)
    order = Order(
        seed=3,
        num_examples=num_examples,
        batch_size=8,
        num_epochs=2,
        windows=windows if windowed else None,
    )
    for step in range(plan.num_steps):
        batch = order.batch(step)
        parts = [replica_rows(canvases, batch, plan, 3, replica) for replica in range(num_replicas)]
        seeds = np.concatenate([part[4] for part in parts])
        np.testing.assert_array_equal(seeds, example_seeds(3, batch.epochs, batch.indices))
    canvases.close()
