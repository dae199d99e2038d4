"""Categorical cross-entropy per example, in float32."""

import tensorflow as tf


def soft_labels(labels: tf.Tensor, num_classes: int, smoothing: float) -> tf.Tensor:
    """One-hot labels [B, K] with `smoothing` of the weight spread evenly (Szegedy et al. 2016).

    A label of -1 (none) gives a row of the even share alone.
    """
    return tf.one_hot(labels, num_classes) * (1 - smoothing) + smoothing / num_classes


def cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Cross-entropy [B] of logits [B, K] against target distributions [B, K]."""
    return tf.nn.softmax_cross_entropy_with_logits(targets, tf.cast(logits, tf.float32))
