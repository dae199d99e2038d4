"""Memory of the input: what was predicted, and no more."""

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.making import build_cars, make_recipe, make_stage
from tfrecords_builder.manifest import Split, load_manifest
from trainer.input.canvases import Canvases, canvas_bytes
from trainer.input.feed import train_feed
from trainer.order import Order, Windows
from trainer.plan import plan_stages

CANVAS_PX = 256
BATCH = 2
BATCH_BYTES = canvas_bytes(BATCH, CANVAS_PX)
BATCHES_AT_HAND = 16
"""Made ahead, on their way through TensorFlow, and kept to be filled again."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Split]:
    data_dir = build_cars(tmp_path_factory.mktemp("memory") / "data", num_images=120)
    return str(data_dir), load_manifest(str(data_dir)).splits["train"]


@pytest.fixture
def peak_bytes() -> Iterator[Callable[[], int]]:
    """What Python and NumPy have allocated at most since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def see_an_epoch(data: tuple[str, Split], cache: str) -> None:
    """Feeds an epoch in windows of a sixth of the split."""
    data_dir, split = data
    sizes = [split.num_examples // 12] * 11
    windows = Windows(shard_examples=(*sizes, split.num_examples - sum(sizes)), shards_per_window=2)
    canvases = Canvases(data_dir, split, CANVAS_PX, cache, num_threads=2)
    order = Order(
        seed=1, num_examples=split.num_examples, batch_size=BATCH, num_epochs=1, windows=windows
    )
    (plan,) = plan_stages(
        make_recipe(make_stage(batch_size=BATCH, epochs=1)),
        num_examples=split.num_examples,
        num_replicas=1,
    )
    feed = train_feed(tf.distribute.OneDeviceStrategy("/cpu:0"), canvases, order, plan, 1, 0)
    for _ in range(plan.num_steps):
        next(feed)
    assert len(set(canvases.ids)) == split.num_examples
    canvases.close()


def test_kept_canvases_take_what_was_predicted(
    data: tuple[str, Split], peak_bytes: Callable[[], int]
) -> None:
    predicted = canvas_bytes(data[1].num_examples, CANVAS_PX)
    see_an_epoch(data, "memory")
    assert predicted <= peak_bytes() <= predicted + BATCHES_AT_HAND * BATCH_BYTES


@pytest.mark.parametrize("cache", ["none", "disk"])
def test_what_is_not_kept_in_memory_takes_some_batches_of_it(
    cache: str, data: tuple[str, Split], peak_bytes: Callable[[], int]
) -> None:
    bound = BATCHES_AT_HAND * BATCH_BYTES
    assert bound < 0.5 * canvas_bytes(data[1].num_examples, CANVAS_PX)
    see_an_epoch(data, cache)
    assert peak_bytes() <= bound


def test_batches_are_the_size_that_the_bound_counts(data: tuple[str, Split]) -> None:
    canvases = Canvases(data[0], data[1], CANVAS_PX, "none", num_threads=1)
    assert canvases.gather(np.arange(BATCH)).images.nbytes == BATCH_BYTES
    canvases.close()
