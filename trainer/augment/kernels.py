"""Two ways to compute the same pixels: matrix products for accelerators, gathers for the CPU.

A matrix unit multiplies by a mostly empty interpolation matrix, or by a one-hot, at no cost, and
gathers slowly; a CPU is the other way round. The results agree to rounding.
"""

import contextvars
import functools
import importlib.metadata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import tensorflow as tf

Kernels = Literal["matrix", "gather"]
_chosen: contextvars.ContextVar[Kernels | None] = contextvars.ContextVar("kernels", default=None)


@contextmanager
def default_kernels_are(kernels: Kernels) -> Iterator[None]:
    """What is traced inside is for other devices than this process has."""
    token = _chosen.set(kernels)
    try:
        yield
    finally:
        _chosen.reset(token)


def default_kernels() -> Kernels:
    """ "matrix" where this process has a GPU or TPU, else "gather". Asked while tracing.

    Under `tensorflow-tpu` it is always "matrix": that build cannot compile for its host ("could
    not find registered transfer manager for platform Host").
    """
    if (chosen := _chosen.get()) is not None:
        return chosen
    kinds = {device.device_type for device in tf.config.list_logical_devices()}
    return "matrix" if kinds & {"GPU", "TPU"} or _is_installed("tensorflow-tpu") else "gather"


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def fuse(kernels: Kernels, function: Callable[..., Any], *args: Any) -> Any:
    """Calls `function`, on the CPU as one XLA kernel.

    TensorFlow's CPU kernels write every intermediate result to memory; XLA makes one loop of
    point-wise maths, which took a quarter of the time for CLAHE's table look-up. The training
    step as a whole must stay without XLA on the CPU, where convolutions get slow by it.

    Args:
      kernels: with "matrix" the function is called as it is: the accelerator's compiler fuses
        the whole step anyway, and exported graphs stay free of nested compiled functions.
      function: a module-level function of tensors; other arguments must be plain numbers.
      *args: its arguments.
    """
    if kernels == "matrix":
        return function(*args)
    specs = tuple(tf.TensorSpec(arg.shape, arg.dtype) if tf.is_tensor(arg) else arg for arg in args)
    return _compiled(function, specs)(*(arg for arg in args if tf.is_tensor(arg)))


@functools.cache
def _compiled(function: Callable[..., Any], specs: tuple[Any, ...]) -> Any:
    # Lifted out of the graph that is being traced, because the next graph will call it too. A
    # concrete function for each signature: one tf.function for all would warn of retracing.
    with tf.init_scope():
        return tf.function(function, jit_compile=True, autograph=False).get_concrete_function(
            *specs
        )
