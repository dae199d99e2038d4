"""Pretrained weights: whatever the way in, complete for the network or an error that says why.

    loaded = load_weights("efficientnetb5_notop.h5", "EfficientNetB5", expected_shapes)

Weights travel as a flat mapping of `<layer>/<variable>` to float32 arrays, in the layer names of
`keras.applications`. Importing this package imports neither TensorFlow nor Keras.
"""

from trainer.weights.loading import check_weights, load_weights
from trainer.weights.tensors import LoadedWeights, WeightsError

__all__ = ["LoadedWeights", "WeightsError", "check_weights", "load_weights"]
