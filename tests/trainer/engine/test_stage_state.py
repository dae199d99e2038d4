"""State of a stage: a snapshot stays what it was while training goes on."""

import numpy as np
import tensorflow as tf

from tests.trainer.engine.conftest import two_stages
from trainer.engine.rehearsal import MadeExamples
from trainer.engine.stage_state import StageState
from trainer.input.canvases import canvas_px_of
from trainer.input.feed import train_feed
from trainer.order import Order
from trainer.plan import plan_stages


def test_a_snapshot_does_not_change_with_later_steps(one_device: tf.distribute.Strategy) -> None:
    recipe = two_stages()
    (plan, _) = plan_stages(recipe, num_examples=48, num_replicas=1)
    state = StageState(one_device, recipe, plan, 10, np.ones(10), False)
    order = Order(seed=0, num_examples=48, batch_size=plan.global_batch, num_epochs=2)
    examples = MadeExamples(48, canvas_px_of(plan.stage.image_px))
    feed = train_feed(one_device, examples, order, plan, 0, 0)
    rate = np.array([0.1], np.float32)
    state.steps.run(feed, rate)
    snapshot = state.snapshot()
    copied = {name: np.array(value) for name, value in snapshot.items()}
    state.steps.run(feed, rate)
    changed = state.snapshot()
    for name, value in snapshot.items():
        np.testing.assert_array_equal(value, copied[name], err_msg=name)
    assert not np.array_equal(changed["head_logits/kernel"], copied["head_logits/kernel"])
