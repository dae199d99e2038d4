"""Keeps TensorFlow from tuning input that leaves nothing to tune.

A tuned iterator has a thread that sleeps for up to a minute between two looks at its pipeline. When
the iterator goes away it is woken before it is told to end; where it looks at once it goes back to
sleep, and the process waits for it with Python's lock in hand (TensorFlow 2.19 to 2.21): up to 55 s
at the end of a stage. Our own pipelines say that they are not tuned. Those with which a strategy
brings their batches to its devices take no options from us, so they get them here.
"""

from typing import Any

import tensorflow as tf
from tensorflow.python.data.ops import multi_device_iterator_ops


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset without a tuner."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def leave_devices_untuned() -> None:
    """Changes what every later distributed iterator of this process is made of."""
    make = multi_device_iterator_ops._create_device_dataset
    if getattr(make, "is_untuned", False):
        return

    def make_untuned(*args: Any, **kwargs: Any) -> tf.data.Dataset:
        return untuned(make(*args, **kwargs))

    make_untuned.is_untuned = True  # type: ignore[attr-defined]
    multi_device_iterator_ops._create_device_dataset = make_untuned
