"""Mixup and cutmix between the two examples of a pair.

Examples 2i and 2i + 1 of the batch are partners. Pairs are the smallest group, so any even
number of examples a replica gives the same pairs on 1, 2, 4 or 8 replicas; the order of examples
is a fresh permutation every epoch, so partners change. The last example of an odd batch is its
own partner and stays as it is.

Shape suffixes: B batch, H, W, C channels, K classes, P proposals.
"""

import tensorflow as tf

from trainer.augment.config import Augmentation
from trainer.augment.draws import Draws, Operation
from trainer.augment.kernels import Kernels, fuse

_NUM_PROPOSALS = 16


def mix(
    images_bhwc: tf.Tensor,
    labels_bk: tf.Tensor,
    config: Augmentation,
    draws: Draws,
    kernels: Kernels = "matrix",
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes each example with its partner, and its label by the same shares.

    Each example draws its own share, so its result depends on its own seed and on its partner's
    pixels and label only.

    Args:
      images_bhwc: float32 [B, H, W, 3] in 0..255.
      labels_bk: float32 [B, K], rows that sum to 1.

    Returns:
      Images and labels of the same shapes; labels still sum to 1. The share that an example keeps
      is Beta(alpha, alpha) for mixup. For cutmix the partner's box has sides sqrt(1 - share) of
      the picture around a uniform centre, is clipped at the border, and the label's share is the
      area that is really left.

    Sources: Zhang et al., "mixup", 2017; Yun et al., "CutMix", 2019.
    """
    take_part = draws.chance(Operation.MIX_CHOICE, config.mix_probability)
    by_cutmix = tf.fill(tf.shape(take_part), config.cutmix_alpha > 0)
    if config.mixup_alpha > 0 and config.cutmix_alpha > 0:
        by_cutmix = draws.uniform(Operation.MIX_CHOICE, 1)[:, 0] < 0.5

    size_px = images_bhwc.shape[1]
    kept_b = tf.ones_like(take_part, tf.float32)
    if config.mixup_alpha > 0:
        share = beta(draws.uniform(Operation.MIXUP, 2 * _NUM_PROPOSALS), config.mixup_alpha)
        kept_b = tf.where(tf.logical_and(take_part, ~by_cutmix), share, 1.0)
    side = tf.zeros_like(kept_b)
    if config.cutmix_alpha > 0:
        share = beta(draws.uniform(Operation.CUTMIX, 2 * _NUM_PROPOSALS), config.cutmix_alpha)
        side = tf.where(tf.logical_and(take_part, by_cutmix), tf.sqrt(1 - share), 0.0)
    centers = draws.uniform(Operation.CUTMIX_BOX, 2)
    rows = _covered(centers[:, 0], side, size_px)
    columns = _covered(centers[:, 1], side, size_px)
    images = fuse(kernels, _combine, images_bhwc, kept_b, rows, columns)
    covered = tf.reduce_mean(rows, axis=1) * tf.reduce_mean(columns, axis=1)
    kept = (kept_b * (1 - covered))[:, None]
    return images, labels_bk * kept + partners(labels_bk) * (1 - kept)


def _combine(
    images_bhwc: tf.Tensor, kept_b: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor
) -> tf.Tensor:
    outside_of_box = 1 - rows[:, :, None] * columns[:, None, :]
    mask = (kept_b[:, None, None] * outside_of_box)[..., None]
    # a + (b - a) w is not exactly a for w = 0 and large b; a w + b (1 - w) is.
    return images_bhwc * mask + partners(images_bhwc) * (1 - mask)


def partners(values: tf.Tensor) -> tf.Tensor:
    """Row i exchanged with row i + 1 for even i; an odd batch keeps its last row in place."""
    batch = values.shape[0]
    if batch is None:
        raise ValueError(
            "the batch size is unknown while tracing; pairs need it. "
            "Give the compiled step batches of a fixed size."
        )
    even = batch - batch % 2
    pairs = tf.reshape(values[:even], [even // 2, 2, *values.shape[1:]])
    swapped = tf.reshape(tf.reverse(pairs, [1]), [even, *values.shape[1:]])
    return tf.concat([swapped, values[even:]], axis=0) if batch % 2 else swapped


def beta(uniform_bp: tf.Tensor, alpha: float) -> tf.Tensor:
    """Beta(alpha, alpha) numbers [B] out of uniform ones [B, 2 P], for alpha in (0, 1].

    Joehnk's rejection: the first of P proposals that is accepted. At alpha 1 half of them are, so
    one example in 2^16 takes the last, unaccepted one, which is still in 0..1 and symmetric.

    Source: Joehnk, "Erzeugung von betaverteilten und gammaverteilten Zufallszahlen", 1964.
    """
    # In logarithms, because u^(1 / 0.1) leaves the range of float32. 1 - u is never zero.
    logs = tf.math.log(1 - uniform_bp) / alpha
    log_x, log_y = logs[:, :_NUM_PROPOSALS], logs[:, _NUM_PROPOSALS:]
    accepted = tf.exp(log_x) + tf.exp(log_y) <= 1
    last = tf.one_hot(_NUM_PROPOSALS - 1, _NUM_PROPOSALS, on_value=True, off_value=False)
    first = tf.argmax(
        tf.cast(tf.logical_or(accepted, last), tf.int32), axis=1, output_type=tf.int32
    )
    odds = tf.reduce_sum(tf.one_hot(first, _NUM_PROPOSALS) * (log_x - log_y), axis=1)
    return tf.sigmoid(odds)


def _covered(center_b: tf.Tensor, side_b: tf.Tensor, size: int) -> tf.Tensor:
    """1 for pixels of a line inside of an interval with whole-pixel ends; float32 [B, size]."""
    start = tf.round((center_b - side_b / 2) * size)[:, None]
    stop = tf.round((center_b + side_b / 2) * size)[:, None]
    position = tf.range(size, dtype=tf.float32)[None, :]
    return tf.cast(tf.logical_and(position >= start, position < stop), tf.float32)
