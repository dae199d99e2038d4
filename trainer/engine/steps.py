"""The compiled training steps of one stage, several per host call.

Under every strategy a training step is the same three parts:

    forward + backward on the replica's rows (micro-batches summed; XLA on GPUs)
    ONE all-reduce (SUM) of gradients, metrics and BatchNorm statistics; layers of BatchNorm that
    train sum over the replicas by themselves
    update, the same on every replica

The loss is divided by the weight of the *global* batch, so the gradient does not depend on how
many replicas share it. All randomness comes with the batch as per-example seeds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from trainer.augment.batch import augment_batch
from trainer.devices import num_workers
from trainer.engine.losses import cross_entropy, soft_labels
from trainer.engine.optimizer import AdamW
from trainer.network.build import StageNetwork
from trainer.network.layers import counted_rows, dropout_seeds
from trainer.plan import StagePlan

MAX_STEPS_PER_CALL = 100


class Batch(NamedTuple):
    """Rows of one replica; `weights` 0 marks padding."""

    canvases: tf.Tensor
    """uint8 [B, S, S, 3], or float32 [B, F] kept features of a frozen network."""
    aspects: tf.Tensor
    """float32 [B]: width over height of the photo."""
    labels: tf.Tensor
    """int32 [B], -1 for none."""
    weights: tf.Tensor
    """float32 [B]."""
    seeds: tf.Tensor
    """int32 [B, 2]: a function of (run seed, epoch, record index)."""


@dataclass(frozen=True, slots=True)
class TrainMetrics:
    """Sums over the training steps since they were last read."""

    loss: float
    accuracy: float
    num_examples: float
    num_skipped: int
    """Updates left out because a gradient was not finite (float16 loss scaling does this)."""
    gradient_norm: float
    """Of the last step."""


class TrainSteps:
    """`run(iterator, rates)` makes len(rates) optimizer steps in one host call.

    Args:
        strategy: where to run.
        plan: of the stage.
        cut: the stage's network.
        optimizer: over `cut.trainable`.
        num_classes: K.
        class_weights: float32 [K], factors on the loss.
        compile_with_xla: jit the forward and backward part; on GPUs.
        on_features: the batches hold pooled features instead of canvases.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        plan: StagePlan,
        cut: StageNetwork,
        optimizer: AdamW,
        num_classes: int,
        class_weights: np.ndarray,
        compile_with_xla: bool,
        on_features: bool = False,
    ):
        self._strategy = strategy
        self._plan = plan
        self._cut = cut
        self._optimizer = optimizer
        self._num_classes = num_classes
        self._class_weights = class_weights.astype(np.float32)
        self._on_features = on_features
        self._variables = {name: variable.value for name, variable in cut.trainable.items()}
        # loss, correct, weight, skipped, last gradient norm
        self._sums = tf.Variable(tf.zeros([5]), trainable=False, name="train_sums")
        self._forward_backward: Callable[..., Any] = self._gradients
        if compile_with_xla:
            self._forward_backward = tf.function(self._gradients, jit_compile=True, autograph=False)
        self._clock = _clock()
        self._steps = tf.function(self._make_steps, autograph=False)

    def variables(self) -> dict[str, tf.Variable]:
        """State that an exact resume needs besides network and optimizer."""
        return {"train_sums": self._sums}

    def run(self, iterator: Iterator[Batch], rates: np.ndarray) -> float:
        """Takes len(rates) global batches, up to MAX_STEPS_PER_CALL.

        Returns:
            Seconds in which the devices had nothing to do but wait for batches; 0 with
            deterministic operations only, which a clock is not.
        """
        # Always the same shape, so that a call with another number of steps is not traced again.
        padded = np.zeros(MAX_STEPS_PER_CALL, np.float32)
        padded[: len(rates)] = rates
        return float(self._steps(iterator, tf.constant(padded), tf.constant(len(rates))))

    def weight_norm(self) -> float:
        """Euclidean norm over all trained variables."""
        return float(tf.linalg.global_norm(list(self._variables.values())))

    def read_metrics(self) -> TrainMetrics:
        """The sums since the last `reset_metrics`."""
        loss, correct, weight, skipped, norm = (float(value) for value in self._sums.numpy())
        divisor = max(weight, 1.0)
        return TrainMetrics(
            loss=loss / divisor,
            accuracy=correct / divisor,
            num_examples=weight,
            num_skipped=int(skipped),
            gradient_norm=norm,
        )

    def reset_metrics(self) -> None:
        """Starts new sums, at the start of an epoch."""
        self._sums.assign(tf.zeros([5]))

    def _make_steps(self, iterator: Any, rates: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
        def step(index: tf.Tensor, waited: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.control_dependencies([waited]):
                asked = self._clock()
            with tf.control_dependencies([asked]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
                waited += self._clock() - asked
            self._strategy.run(self._replica_step, args=(batch, rates[index]))
            return index + 1, waited

        start = (tf.constant(0), tf.constant(0.0, tf.float64))
        _, waited = tf.while_loop(
            lambda index, waited: index < num_steps, step, start, parallel_iterations=1
        )
        return waited

    def _replica_step(self, batch: Batch, rate: tf.Tensor) -> None:
        num_micro_batches = self._plan.num_micro_batches
        parts = zip(*[tf.split(tensor, num_micro_batches) for tensor in batch], strict=True)
        counted = self._counted_rows()
        counted_parts = (
            [None] * num_micro_batches if counted is None else tf.split(counted, num_micro_batches)
        )
        total: list[tf.Tensor] | None = None
        for part, rows in zip(parts, counted_parts, strict=True):
            sums = self._forward_backward(Batch(*part), rows, self._optimizer.loss_scale)
            total = sums if total is None else [a + b for a, b in zip(total, sums, strict=True)]
        assert total is not None
        replicas = self._strategy.num_replicas_in_sync
        statistics = [variable.value for variable in self._cut.statistics.values()]
        if replicas > 1:
            reduced = self._sum_over_replicas(
                total + [tf.identity(value) / replicas for value in statistics]
            )
            total, means = reduced[: len(total)], reduced[len(total) :]
            for variable, mean in zip(statistics, means, strict=True):
                variable.assign(mean)
        *gradients, sums = total
        # The loss was divided by the full global batch; the last batch of a stage may hold less.
        fill = self._plan.global_batch / tf.maximum(sums[2], 1.0)
        norm, finite = self._optimizer.update(
            dict(zip(self._variables, gradients, strict=True)), rate, fill
        )
        skipped = 1.0 - tf.cast(finite, tf.float32)
        added = tf.concat([sums, [skipped]], 0)
        self._sums.assign(tf.concat([self._sums[:4] + added, [norm]], 0))

    def _counted_rows(self) -> tf.Tensor | None:
        """float32 [B] of this replica: 0 behind the global batch's end; None where nothing is."""
        plan = self._plan
        if plan.padded_batch == plan.global_batch:
            return None
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        rows = tf.cast(replica, tf.int32) * plan.replica_batch + tf.range(plan.replica_batch)
        return tf.cast(rows < plan.global_batch, tf.float32)

    def _sum_over_replicas(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """The sums of float32 tensors over all replicas, on each of them."""
        context = tf.distribute.get_replica_context()
        if num_workers(self._strategy) == 1:
            reduced: list[tf.Tensor] = context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)
            return reduced
        # Between processes TensorFlow sends each tensor by itself, hundreds a step; other
        # strategies and XLA pack them.
        flat = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)
        parts = tf.split(
            context.all_reduce(tf.distribute.ReduceOp.SUM, flat),
            [tensor.shape.num_elements() for tensor in tensors],
        )
        return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def _gradients(
        self, batch: Batch, rows: tf.Tensor | None, loss_scale: tf.Tensor
    ) -> list[tf.Tensor]:
        """Gradients by variable, then [sum of losses, of hits, of weights]."""
        inputs, targets = self._inputs(batch)
        weights = batch.weights * tf.reduce_sum(targets * self._class_weights, axis=-1)
        trainable = list(self._variables.values())
        with (
            tf.GradientTape(watch_accessed_variables=False) as tape,
            dropout_seeds(batch.seeds),
            counted_rows(rows),
        ):
            tape.watch(trainable)
            logits = self._cut.trained(inputs, training=True)
            losses = cross_entropy(logits, targets)
            scaled = tf.reduce_sum(losses * weights) * loss_scale / self._plan.global_batch
        gradients = tape.gradient(scaled, trainable)
        hits = tf.cast(
            tf.equal(tf.argmax(logits, -1, output_type=tf.int32), batch.labels), tf.float32
        )
        sums = tf.stack(
            [
                tf.reduce_sum(losses * batch.weights),
                tf.reduce_sum(hits * batch.weights),
                tf.reduce_sum(batch.weights),
            ]
        )
        return [tf.cast(gradient, tf.float32) for gradient in gradients] + [sums]

    def _inputs(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        stage = self._plan.stage
        targets = soft_labels(batch.labels, self._num_classes, stage.label_smoothing)
        if self._on_features:
            return batch.canvases, targets
        images, targets = augment_batch(
            batch.canvases, batch.aspects, targets, batch.seeds, stage.augmentation, stage.image_px
        )
        if self._cut.frozen is not None:
            images = tf.stop_gradient(self._cut.frozen(images, training=False))
        return images, targets


def _clock() -> Callable[[], tf.Tensor]:
    """Seconds inside of compiled steps; stands still where op determinism forbids to ask."""
    try:
        tf.timestamp()
    except tf.errors.FailedPreconditionError:
        return lambda: tf.constant(0.0, tf.float64)
    return tf.timestamp
