"""The computed order: every example once an epoch, the same from any step on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import RecipeError
from trainer.order import Order, epoch_order

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


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(RecipeError, match="empty"):
        Order(seed=0, num_examples=0, batch_size=4, num_epochs=1)
