"""Which way of computing is chosen, and that fused functions are compiled once a signature."""

import importlib.metadata
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from trainer.augment import kernels
from trainer.augment.kernels import default_kernels, fuse


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["CPU"], "gather"),
        (["CPU", "CPU"], "gather"),
        (["CPU", "GPU"], "matrix"),
        (["TPU"], "matrix"),
    ],
)
def test_accelerators_take_matrices(monkeypatch, kinds: list[str], expected: str) -> None:
    devices = [SimpleNamespace(device_type=kind) for kind in kinds]
    monkeypatch.setattr(kernels.tf.config, "list_logical_devices", lambda: devices)
    monkeypatch.setattr(kernels, "_is_installed", lambda distribution: False)
    assert default_kernels() == expected


def test_a_host_that_cannot_compile_takes_matrices(monkeypatch) -> None:
    versions = {"tensorflow-tpu": "2.19.1"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions[name])
    assert default_kernels() == "matrix"


def test_fused_function_gives_the_same_and_is_traced_once_a_signature() -> None:
    traces = []

    def double(values: tf.Tensor, extra: int, unused: None) -> tf.Tensor:
        traces.append(values.shape)
        return 2 * values + extra

    for length in (3, 3, 4, 3):
        result = fuse("gather", double, tf.ones([length]), 1, None)
        np.testing.assert_array_equal(result, np.full(length, 3))
    assert traces == [(3,), (4,)]


def test_matrix_kernels_hold_no_nested_function() -> None:
    @tf.function
    def step(values: tf.Tensor) -> tf.Tensor:
        return fuse("matrix", tf.math.square, values)

    graph = step.get_concrete_function(tf.ones([2])).graph.as_graph_def()
    assert not graph.library.function
