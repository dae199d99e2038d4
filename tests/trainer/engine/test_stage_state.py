"""State of a stage: what a step does to it, and that a snapshot stays what it was."""

from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.engine.conftest import mirrored, two_stages
from trainer.engine.built_stage import class_weights
from trainer.engine.rehearsal import MadeExamples
from trainer.engine.stage_state import StageState
from trainer.engine.steps import Batch
from trainer.errors import RunFolderError
from trainer.input.canvases import canvas_px_of
from trainer.input.feed import train_feed
from trainer.order import Order
from trainer.plan import plan_stages


def make_head(
    strategy: tf.distribute.Strategy, **changes: object
) -> tuple[StageState, Iterator[Batch]]:
    """The first of `two_stages`, and batches for it."""
    recipe = two_stages(**changes)
    (plan, _) = plan_stages(recipe, num_examples=48, num_replicas=1)
    state = StageState(strategy, recipe, plan, 10, np.ones(10), False)
    order = Order(seed=0, num_examples=48, batch_size=plan.global_batch, num_epochs=2)
    examples = MadeExamples(48, canvas_px_of(plan.stage.image_px))
    return state, train_feed(strategy, examples, order, plan, 0, 0)


def test_a_snapshot_does_not_change_with_later_steps(one_device: tf.distribute.Strategy) -> None:
    state, feed = make_head(one_device)
    rate = np.array([0.1], np.float32)
    state.steps.run(feed, rate)
    snapshot = state.snapshot()
    copied = {name: np.array(value) for name, value in snapshot.items()}
    state.steps.run(feed, rate)
    changed = state.snapshot()
    for name, value in snapshot.items():
        np.testing.assert_array_equal(value, copied[name], err_msg=name)
    assert not np.array_equal(changed["head_logits/kernel"], copied["head_logits/kernel"])


def test_accumulated_micro_batches_give_the_same_gradients(
    one_device: tf.distribute.Strategy,
) -> None:
    def first_moments(**changes: object) -> dict[str, np.ndarray]:
        state, feed = make_head(one_device, head_dropout=0.0, **changes)
        # Batch statistics would be those of a micro-batch.
        state.network.model.get_layer("head_bn").trainable = False
        state.steps.run(feed, np.array([0.1], np.float32))
        return {
            name: np.asarray(value)
            for name, value in state.snapshot().items()
            if name.startswith("optimizer/m/")
        }

    whole, parts = first_moments(), first_moments(max_replica_batch=5)
    for name, expected in whole.items():
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(
            parts[name], expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max(), err_msg=name
        )


def test_a_checkpoint_of_another_network_is_refused_by_name(
    one_device: tf.distribute.Strategy,
) -> None:
    state, _ = make_head(one_device)
    arrays = state.in_host_memory()
    arrays["head_logits/kernel"] = arrays["head_logits/kernel"][:, :3]
    with pytest.raises(RunFolderError, match=r"stage 'head' \(differing: head_logits/kernel\)"):
        state.restore(arrays)
    del arrays["head_logits/kernel"]
    with pytest.raises(RunFolderError, match="head_logits/kernel"):
        state.restore(arrays)


def test_balanced_classes_weigh_the_same_and_empty_ones_nothing() -> None:
    counts = np.array([10, 30, 0])
    weights = class_weights("balanced", counts)
    np.testing.assert_allclose(weights * counts, [40 / 3, 40 / 3, 0])
    assert weights[2] == 0
    np.testing.assert_array_equal(class_weights("none", counts), np.ones(3))


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_no_pipeline_has_a_tuner_to_wait_for(num_replicas: int) -> None:
    _, feed = make_head(mirrored(num_replicas))
    (worker,) = feed._iterators
    across_devices = worker._iterator
    datasets = [each._dataset for each in across_devices._device_iterators]
    assert len(datasets) == num_replicas
    for dataset in [*datasets, worker._dataset]:
        assert dataset.options().autotune.enabled is False
