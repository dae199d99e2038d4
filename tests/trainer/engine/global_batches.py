"""Which examples stand in which global batch, by their seeds; as a command, one worker's share.

python -m tests.trainer.engine.global_batches
"""

import json

import numpy as np
import tensorflow as tf

from tests.trainer.making import make_recipe, make_stage
from trainer.devices import is_chief, make_strategy
from trainer.engine.evaluation_step import gathered
from trainer.engine.rehearsal import MadeExamples
from trainer.input.feed import train_feed
from trainer.order import Order
from trainer.plan import plan_stages

NUM_STEPS = 5


def global_batches(strategy: tf.distribute.Strategy, first_step: int = 0) -> list[list[list[int]]]:
    """For each step the seeds of its examples, [step][row][2]: functions of (epoch, record)."""
    recipe = make_recipe(make_stage(batch_size=12, epochs=3, image_px=8))
    num_replicas = strategy.num_replicas_in_sync
    (plan,) = plan_stages(recipe, num_examples=20, num_replicas=num_replicas)
    order = Order(seed=3, num_examples=20, batch_size=12, num_epochs=3)
    feed = iter(train_feed(strategy, MadeExamples(20, 8), order, plan, 3, first_step))

    step = gathered(strategy, lambda batch: (batch.seeds, batch.weights))
    batches = []
    for _ in range(first_step, NUM_STEPS):
        seeds, weights = step(next(feed))
        batches.append(np.asarray(seeds)[np.asarray(weights) > 0].tolist())
    return batches


def main() -> None:
    strategy = make_strategy("multiworker")
    batches = global_batches(strategy)
    if is_chief(strategy):
        print(json.dumps(batches))


if __name__ == "__main__":
    main()
