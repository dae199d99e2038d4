"""Batches for the devices: a tf.data pipeline over computed positions, one element a replica.

Element j of a worker's pipeline belongs to step j // R and to its replica j % R (R replicas a
worker), which is how `distribute_datasets_from_function` deals elements out. There is no state to
save: a pipeline for any step is made by starting there.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.devices import num_workers
from trainer.engine.steps import Batch
from trainer.errors import DataError
from trainer.input.canvases import Canvases, Examples
from trainer.input.untuned import leave_devices_untuned, untuned
from trainer.order import BatchRows, Order
from trainer.plan import StagePlan

_PARALLEL_BATCHES = 2


def train_feed(
    strategy: tf.distribute.Strategy,
    canvases: Examples,
    order: Order,
    plan: StagePlan,
    seed: int,
    first_step: int,
) -> Iterator[Batch]:
    """Endless distributed batches of a stage from `first_step` on; padding behind its end."""
    lock = threading.Lock()
    newest, announced = first_step - 1, None

    def announce(step: int) -> None:
        nonlocal newest, announced
        with lock:
            if step <= newest:
                return
            # The step before may still be at work beside this one, and keeps its shards; the last
            # step of a stage reads of them too.
            newest, near = step, order.shards_near(max(step - 1, 0), step)
            if near != announced and isinstance(canvases, Canvases):
                announced = near
                canvases.expect(near or ())

    def rows(step: int, replica: int) -> tuple[np.ndarray, ...]:
        announce(step)
        return replica_rows(canvases, order.batch(step), plan, seed, replica)

    return iter(distribute(strategy, rows, plan.replica_batch, canvases, first_step, None))


def evaluation_feed(
    strategy: tf.distribute.Strategy, canvases: Examples, replica_batch: int
) -> Any:
    """Distributed batches over the whole split; what is behind its end is padding.

    Each worker goes through a part of its own from start to end, so that of a bucket it fetches
    the shards of that part only; `in_index_order` puts results into order.
    """
    replicas = strategy.num_replicas_in_sync
    local = replicas // num_workers(strategy)
    num_steps = -(-canvases.num_examples // (replica_batch * replicas))
    last = canvases.num_examples - 1

    def rows(step: int, replica: int) -> tuple[np.ndarray, ...]:
        worker, local_replica = divmod(replica, local)
        first = ((worker * num_steps + step) * local + local_replica) * replica_batch
        positions = np.arange(first, first + replica_batch, dtype=np.int64)
        if isinstance(canvases, Canvases):
            own_end = (worker + 1) * num_steps * local * replica_batch
            canvases.expect_rows(min(first, last), min(own_end - 1, last))
        # Padding repeats a row that is at hand, or the last one where a worker has none.
        gathered = canvases.gather(np.minimum(positions, last))
        real = positions <= last
        seeds = np.zeros((replica_batch, 2), np.int32)
        return gathered.images, gathered.aspects, gathered.labels, real.astype(np.float32), seeds

    return distribute(strategy, rows, replica_batch, canvases, 0, num_steps)


def in_index_order(
    strategy: tf.distribute.Strategy, results: Sequence[np.ndarray], num_examples: int
) -> np.ndarray:
    """[N, ...] from results [rows over all replicas, ...], one a batch of `evaluation_feed`."""
    parts = [np.split(result, num_workers(strategy)) for result in results]
    return np.concatenate([part for worker in zip(*parts, strict=True) for part in worker])[
        :num_examples
    ]


def example_seeds(seed: int, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """int32 [B, 2]: what is random about an example, from (run seed, epoch, record index) alone."""
    keys = {
        int(epoch): np.random.SeedSequence([seed & (2**64 - 1), int(epoch)]).generate_state(1)[0]
        for epoch in np.unique(epochs)
    }
    first = np.array([keys[int(epoch)] for epoch in epochs], np.uint32)
    return np.stack([first, indices.astype(np.uint32)], axis=-1).view(np.int32)


def replica_rows(
    canvases: Examples, batch: BatchRows, plan: StagePlan, seed: int, replica: int
) -> tuple[np.ndarray, ...]:
    """The replica's share of a global batch; rows behind its end repeat the first with weight 0.

    Those behind its end are what `TrainSteps` keeps from BatchNorm's statistics too.
    """
    positions = np.arange(replica * plan.replica_batch, (replica + 1) * plan.replica_batch)
    real = positions < plan.global_batch
    positions = np.where(real, positions, 0)
    indices, epochs = batch.indices[positions], batch.epochs[positions]
    gathered = canvases.gather(indices, epochs)
    weights = np.where(real, batch.weights[positions], 0).astype(np.float32)
    return (
        gathered.images,
        gathered.aspects,
        gathered.labels,
        weights,
        example_seeds(seed, epochs, indices),
    )


def distribute(
    strategy: tf.distribute.Strategy,
    rows: Any,
    replica_batch: int,
    canvases: Examples,
    first_step: int,
    num_steps: int | None,
) -> Any:
    """A distributed dataset of `rows(step, replica)`, endless if `num_steps` is None."""
    canvas_shape = canvases.row_shape
    canvas_dtype = canvases.dtype

    def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = context.num_replicas_in_sync // context.num_input_pipelines
        first_replica = context.input_pipeline_id * local

        def load(element: np.ndarray) -> tuple[np.ndarray, ...]:
            step, replica = divmod(int(element), local)
            return rows(step, first_replica + replica)

        def element(index: tf.Tensor) -> Batch:
            types = (canvas_dtype, tf.float32, tf.int32, tf.float32, tf.int32)
            parts = tf.numpy_function(load, [index], types)
            shapes = ((replica_batch, *canvas_shape), *[(replica_batch,)] * 3, (replica_batch, 2))
            return Batch(
                *(tf.ensure_shape(part, shape) for part, shape in zip(parts, shapes, strict=True))
            )

        end = 2**62 if num_steps is None else (first_step + num_steps) * local
        dataset = tf.data.Dataset.range(first_step * local, end)
        dataset = dataset.map(element, num_parallel_calls=_PARALLEL_BATCHES, deterministic=True)
        return untuned(dataset.prefetch(_PARALLEL_BATCHES))

    leave_devices_untuned()
    return strategy.distribute_datasets_from_function(make)


@contextmanager
def data_errors_told() -> Iterator[None]:
    """Raises the DataError of a record that TensorFlow wraps into an error of its pipeline."""
    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(r"(?:DataError|RecordError): (.*)", str(error))
        if found is None:
            raise
        raise DataError(found[1]) from None
