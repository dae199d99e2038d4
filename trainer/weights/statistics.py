"""BatchNorm statistics of averaged weights.

The moving mean and variance of a layer belong to the weights below it. Those of an average are not
the average of the members'; they are measured again on training photos.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from trainer.weights.tensors import Arrays, WeightsError


def measure_statistics(model: Any, batches: Iterable[Any]) -> Arrays:
    """Measures moving mean and variance of every BatchNorm; the model is left as it was.

    Args:
        model: a Keras model without dropout (rates of 0): pixels [B, H, W, 3] to anything.
        batches: what to measure on. The result is the mean over the batches of what each alone
            gives, as in Izmailov et al., "Averaging weights leads to wider optima" (2018), so
            batches should be as large as those of the training, and a last, smaller one left out.

    Returns:
        `<layer>/moving_mean` and `<layer>/moving_variance` of every BatchNorm layer, float32.

    Raises:
        WeightsError: there is no batch.
    """
    import keras
    import tensorflow as tf

    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    variables = {
        f"{layer.name}/{variable.name}": variable.value
        for layer in layers
        for variable in layer.non_trainable_variables
        if variable.name.startswith("moving_")
    }
    before = {name: variable.numpy() for name, variable in variables.items()}
    settings = [(layer, layer.momentum, layer.trainable) for layer in layers]
    sums: Mapping[str, np.ndarray] = {
        name: np.zeros(values.shape, np.float64) for name, values in before.items()
    }
    num_batches = 0
    try:
        for layer in layers:
            # Momentum 0 makes the moving statistics those of the last batch.
            layer.trainable, layer.momentum = True, 0.0
        forward = tf.function(lambda pixels: model(pixels, training=True), reduce_retracing=True)
        for batch in batches:
            forward(batch)
            num_batches += 1
            for name, variable in variables.items():
                sums[name][...] += variable.numpy()
    finally:
        for layer, momentum, trainable in settings:
            layer.momentum, layer.trainable = momentum, trainable
        for name, values in before.items():
            variables[name].assign(values)
    if num_batches == 0:
        raise WeightsError(
            "no photos to measure BatchNorm statistics on; at least one batch is needed: give a "
            "larger training split"
        )
    return {name: (total / num_batches).astype(np.float32) for name, total in sums.items()}
