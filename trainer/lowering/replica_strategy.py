"""A strategy that traces one replica of a job of many, on a machine that has none of them."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops
from tensorflow.python.distribute import one_device_strategy


class OneOfManyReplicas(tf.distribute.Strategy):
    """Traces what each of `num_replicas` replicas does; its sums become XLA's AllReduce.

    TPUStrategy sums by CrossReplicaSum, which has no kernel for the CPU that traces; both lower to
    the same instruction. What it makes cannot be run, only lowered.
    """

    def __init__(self, num_replicas: int):
        super().__init__(_Extended(self, num_replicas))


class _Extended(one_device_strategy.OneDeviceExtended):
    def __init__(self, strategy: tf.distribute.Strategy, num_replicas: int):
        super().__init__(strategy, "/cpu:0")
        self._num_replicas = num_replicas

    @property
    def _num_replicas_in_sync(self) -> int:
        return self._num_replicas

    def _use_merge_call(self) -> bool:
        return False

    def _replica_ctx_all_reduce(
        self, reduce_op: tf.distribute.ReduceOp, value: Any, options: Any = None
    ) -> Any:
        del options
        return tf.nest.map_structure(lambda tensor: self._all_reduce(reduce_op, tensor), value)

    def _reduce_to(
        self, reduce_op: tf.distribute.ReduceOp, value: Any, destinations: Any, options: Any
    ) -> Any:
        del destinations, options
        return value if not tf.is_tensor(value) else self._all_reduce(reduce_op, value)

    def _all_reduce(self, reduce_op: tf.distribute.ReduceOp, tensor: tf.Tensor) -> tf.Tensor:
        if self._num_replicas == 1:
            return tensor
        if reduce_op == tf.distribute.ReduceOp.MEAN:
            tensor = tensor / self._num_replicas
        groups: Sequence[Sequence[int]] = [list(range(self._num_replicas))]
        return gen_xla_ops.xla_all_reduce(
            tensor, group_assignment=groups, reduce_op="Add", mode="CrossReplica"
        )
