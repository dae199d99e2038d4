"""The computed order: every example once an epoch, the same from any step on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import RecipeError
from trainer.order import Order, Windows, epoch_order, plan_windows

SIZES = st.integers(1, 60)


@given(seed=st.integers(0, 2**63), epoch=st.integers(0, 100), num_examples=SIZES)
def test_an_epoch_is_a_permutation(seed: int, epoch: int, num_examples: int) -> None:
    assert sorted(epoch_order(seed, epoch, num_examples)) == list(range(num_examples))


def test_epochs_and_seeds_differ() -> None:
    orders = [tuple(epoch_order(seed, epoch, 50)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == len(orders)


@given(
    seed=st.integers(0, 9),
    num_examples=SIZES,
    batch_size=st.integers(1, 20),
    num_epochs=st.integers(1, 4),
)
def test_a_stage_sees_every_example_once_an_epoch(
    seed: int, num_examples: int, batch_size: int, num_epochs: int
) -> None:
    order = Order(
        seed=seed,
        num_examples=num_examples,
        batch_size=batch_size,
        num_epochs=num_epochs,
        first_epoch=5,
    )
    num_steps = -(-num_examples * num_epochs // batch_size)
    batches = [order.batch(step) for step in range(num_steps)]
    real = np.concatenate([batch.weights for batch in batches]) == 1
    indices = np.concatenate([batch.indices for batch in batches])[real]
    epochs = np.concatenate([batch.epochs for batch in batches])[real]
    assert len(indices) == num_examples * num_epochs
    for epoch in range(num_epochs):
        assert sorted(indices[epochs == epoch + 5]) == list(range(num_examples))


@given(step=st.integers(0, 20), batch_size=st.integers(1, 20))
def test_a_batch_does_not_depend_on_what_was_asked_before(step: int, batch_size: int) -> None:
    def make() -> Order:
        return Order(seed=1, num_examples=17, batch_size=batch_size, num_epochs=9)

    walked = make()
    for earlier in range(step):
        walked.batch(earlier)
    for name in ("indices", "epochs", "weights"):
        np.testing.assert_array_equal(
            getattr(walked.batch(step), name), getattr(make().batch(step), name)
        )


def test_only_the_last_batch_of_a_stage_is_padded() -> None:
    order = Order(seed=0, num_examples=10, batch_size=4, num_epochs=1)
    assert [order.batch(step).weights.sum() for step in range(4)] == [4, 4, 2, 0]


def test_padding_is_the_photos_of_the_batch_before() -> None:
    order = Order(seed=0, num_examples=10, batch_size=4, num_epochs=1)
    before, last = order.batch(1), order.batch(2)
    np.testing.assert_array_equal(last.indices[2:], before.indices[2:])
    assert len(set(last.indices)) == 4
    short = Order(seed=0, num_examples=3, batch_size=8, num_epochs=1).batch(0)
    np.testing.assert_array_equal(short.indices, np.resize(short.indices[:3], 8))


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(RecipeError, match="empty"):
        Order(seed=0, num_examples=0, batch_size=4, num_epochs=1)


WINDOWS = st.builds(
    Windows,
    shard_examples=st.lists(st.integers(0, 9), min_size=1, max_size=8)
    .filter(any)
    .map(lambda sizes: tuple(sizes)),
    shards_per_window=st.integers(1, 4),
)


def make_windowed(
    windows: Windows, batch_size: int = 4, num_epochs: int = 3, seed: int = 1
) -> Order:
    return Order(
        seed=seed,
        num_examples=windows.num_examples,
        batch_size=batch_size,
        num_epochs=num_epochs,
        windows=windows,
    )


def stream(order: Order, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    batches = [order.batch(step) for step in range(num_steps)]
    real = np.concatenate([batch.weights for batch in batches]) == 1
    return (
        np.concatenate([batch.indices for batch in batches])[real],
        np.concatenate([batch.epochs for batch in batches])[real],
    )


@given(windows=WINDOWS, batch_size=st.integers(1, 20))
def test_a_windowed_epoch_is_a_permutation_too(windows: Windows, batch_size: int) -> None:
    num_steps = -(-3 * windows.num_examples // batch_size)
    indices, epochs = stream(make_windowed(windows, batch_size), num_steps)
    assert len(indices) == 3 * windows.num_examples
    for epoch in range(3):
        assert sorted(indices[epochs == epoch]) == list(range(windows.num_examples))


@given(windows=WINDOWS, batch_size=st.integers(1, 20), other=st.integers(1, 20))
def test_the_stream_does_not_depend_on_the_batch(
    windows: Windows, batch_size: int, other: int
) -> None:
    num = 3 * windows.num_examples
    first, _ = stream(make_windowed(windows, batch_size), -(-num // batch_size))
    second, _ = stream(make_windowed(windows, other), -(-num // other))
    np.testing.assert_array_equal(first, second)


@given(windows=WINDOWS, step=st.integers(0, 12))
def test_a_windowed_batch_can_be_asked_for_first(windows: Windows, step: int) -> None:
    walked = make_windowed(windows)
    for earlier in range(step):
        walked.batch(earlier)
    asked, walked_to = make_windowed(windows).batch(step), walked.batch(step)
    np.testing.assert_array_equal(asked.indices, walked_to.indices)
    np.testing.assert_array_equal(asked.epochs, walked_to.epochs)


@given(windows=WINDOWS, batch_size=st.integers(1, 6), step=st.integers(0, 30))
def test_a_step_reads_only_shards_that_were_announced_in_time(
    windows: Windows, batch_size: int, step: int
) -> None:
    order = make_windowed(windows, batch_size)
    starts = np.cumsum((0, *windows.shard_examples))

    def shards_of(number: int) -> set[int]:
        rows = order.batch(number)
        return set((np.searchsorted(starts, rows.indices, side="right") - 1).tolist())

    announced = order.shards_near(max(0, step - 1), step)
    assert announced is not None
    # The step before may still be reading.
    assert shards_of(max(0, step - 1)) | shards_of(step) <= set(announced)
    if (step + 1) * batch_size < 3 * windows.num_examples:
        # The next window is on its way before its first step.
        first_of_next = order.batch(step + 1).indices[0]
        assert np.searchsorted(starts, first_of_next, side="right") - 1 in announced


def test_few_shards_are_near_however_many_there_are() -> None:
    windows = Windows(shard_examples=(50,) * 40, shards_per_window=3)
    order = make_windowed(windows, batch_size=10)
    for step in range(200):
        near = order.shards_near(step, step)
        assert near is not None
        assert len(near) <= 9


def test_windows_are_mixed_and_differ_from_epoch_to_epoch() -> None:
    windows = Windows(shard_examples=(50,) * 8, shards_per_window=4)
    indices, _ = stream(make_windowed(windows, batch_size=50), 16)
    first, second = indices[:400], indices[400:800]
    assert len({index // 50 for index in first[:20]}) == 4
    assert set(first[:200]) != set(second[:200])
    assert not np.array_equal(first, second)


def test_small_data_is_permuted_whole_and_large_data_in_windows_that_fit() -> None:
    assert plan_windows([5, 5], [100, 100], whole_bytes=200) is None
    windows = plan_windows([5] * 9, [100] * 8 + [150], whole_bytes=200, window_bytes=450)
    assert windows == Windows(shard_examples=(5,) * 9, shards_per_window=3)
    assert plan_windows([5, 5], [300, 300], whole_bytes=1, window_bytes=10) == Windows(
        shard_examples=(5, 5), shards_per_window=1
    )


def test_windows_of_other_data_are_refused() -> None:
    with pytest.raises(ValueError, match="windows"):
        Order(
            seed=0,
            num_examples=5,
            batch_size=1,
            num_epochs=1,
            windows=Windows(shard_examples=(4,), shards_per_window=1),
        )
