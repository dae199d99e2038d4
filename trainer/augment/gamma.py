"""Adaptive gamma correction: dark pictures get brighter, flat ones get contrast.

Source: Rahman et al., "An adaptive gamma correction for image enhancement", EURASIP Journal on
Image and Video Processing 2016:35.
"""

import math

import tensorflow as tf

_LOW_CONTRAST = 1 / 3
_SMALLEST_DEVIATION = 1 / 255


def adaptive_gamma(images: tf.Tensor) -> tf.Tensor:
    """Corrects V of HSV by a power that each picture's brightness and contrast choose.

    V = max(R, G, B) / 255 has mean m and standard deviation s over the picture.
    gamma = -log2(s) where contrast is low (4 s <= 1/3), else exp((1 - (m + s)) / 2).
    V' = V^gamma for bright pictures (m >= 0.5), else V^gamma / (V^gamma + (1 - V^gamma) m^gamma).
    Hue and saturation stay, so R, G and B are multiplied by V' / V; black stays black.

    As s goes to 0, gamma grows without bound and the formula sends a bright, even surface to
    black. A picture whose s is below one grey level (1/255) is therefore left as it is: black,
    white and every even surface come back unchanged. Above that gamma is at most 8.

    Args:
      images: float32 [B, H, W, 3] in 0..255.

    Returns:
      float32 [B, H, W, 3] in 0..255.
    """
    value = tf.reduce_max(images, axis=3) / 255.0
    mean = tf.reduce_mean(value, axis=(1, 2), keepdims=True)
    variance = tf.reduce_mean(tf.square(value - mean), axis=(1, 2), keepdims=True)
    deviation = tf.sqrt(variance)
    has_contrast = deviation >= _SMALLEST_DEVIATION

    low_contrast = -tf.math.log(tf.maximum(deviation, _SMALLEST_DEVIATION)) / math.log(2)
    enough_contrast = tf.exp((1 - (mean + deviation)) / 2)
    gamma = tf.where(4 * deviation <= _LOW_CONTRAST, low_contrast, enough_contrast)

    power = tf.pow(value, gamma)
    dark = tf.math.divide_no_nan(power, power + (1 - power) * tf.pow(mean, gamma))
    corrected = tf.where(mean < 0.5, dark, power)
    gain = tf.where(has_contrast, tf.math.divide_no_nan(corrected, value), 1.0)
    return tf.minimum(images * gain[..., tf.newaxis], 255.0)
