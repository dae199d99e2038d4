"""Mixup and cutmix: right shares in picture and label, partners inside of pairs."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from trainer.augment.config import Augmentation
from trainer.augment.draws import Draws, Operation
from trainer.augment.mixing import beta, mix, partners

STREAMS = [Operation.MIX_CHOICE, Operation.MIXUP, Operation.CUTMIX, Operation.CUTMIX_BOX]


def _mix(num: int, **fields: float) -> tuple[np.ndarray, np.ndarray]:
    """Even examples are black and of class 0, odd ones white and of class 1."""
    seeds = np.stack([np.arange(num), np.full(num, 5)], 1).astype(np.int32)
    images = np.zeros((num, 20, 20, 3), np.float32)
    images[1::2] = 255
    labels = np.eye(2, dtype=np.float32)[np.arange(num) % 2]
    draws = Draws(tf.constant(seeds), STREAMS)
    mixed = mix(tf.constant(images), tf.constant(labels), Augmentation(**fields), draws)
    return mixed[0].numpy(), mixed[1].numpy()


@pytest.mark.parametrize(
    "fields",
    [{"mixup_alpha": 0.4}, {"cutmix_alpha": 1.0}, {"mixup_alpha": 0.2, "cutmix_alpha": 1.0}],
)
def test_label_share_is_the_picture_share(fields: dict) -> None:
    images, labels = _mix(60, **fields)
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(images.mean((1, 2, 3)) / 255, labels[:, 1], atol=1e-5)
    assert labels[:, 1].std() > 0.05


def test_mixup_is_flat_and_cutmix_is_a_box() -> None:
    mixup, _ = _mix(60, mixup_alpha=0.5)
    assert mixup.std((1, 2, 3)).max() < 1e-3
    cutmix, labels = _mix(60, cutmix_alpha=1.0)
    assert set(np.unique(cutmix)) == {0.0, 255.0}
    for image, label, own in zip(cutmix, labels, np.arange(60) % 2, strict=True):
        foreign = image[..., 0] != 255 * own
        rows, columns = foreign.any(1).sum(), foreign.any(0).sum()
        assert foreign.sum() == rows * columns == round(400 * label[1 - own])


def test_both_on_gives_some_of_each() -> None:
    images, _ = _mix(200, mixup_alpha=0.8, cutmix_alpha=1.0)
    blended = np.array([np.any((image > 0) & (image < 255)) for image in images])
    assert 0.35 < blended.mean() < 0.65


def test_mix_probability_leaves_the_rest_untouched() -> None:
    _, labels = _mix(300, mixup_alpha=1.0, mix_probability=0.25)
    untouched = labels.max(1) == 1
    assert 0.68 < untouched.mean() < 0.82


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 1.0])
def test_shares_are_beta_distributed(alpha: float) -> None:
    uniform = np.random.default_rng(0).random((4000, 32), np.float32)
    shares = beta(tf.constant(uniform), alpha).numpy().astype(np.float64)
    # Where a density grows without bound at its ends, float32 cannot tell the last shares apart.
    inner = np.clip(shares, 1e-4, 1 - 1e-4)
    reference = np.clip(stats.beta(alpha, alpha).rvs(20000, random_state=1), 1e-4, 1 - 1e-4)
    assert stats.ks_2samp(inner, reference).pvalue > 0.01


@pytest.mark.parametrize("extreme", [0.0, 1 - 2.0**-24])
def test_extreme_draws_give_a_share(extreme: float) -> None:
    share = beta(tf.fill([1, 32], np.float32(extreme)), 0.1).numpy()[0]
    assert 0 <= share <= 1


def test_partners_swap_inside_pairs() -> None:
    assert partners(tf.range(6)).numpy().tolist() == [1, 0, 3, 2, 5, 4]


def test_last_of_an_odd_batch_is_its_own_partner() -> None:
    assert partners(tf.range(5)).numpy().tolist() == [1, 0, 3, 2, 4]
    assert partners(tf.range(1)).numpy().tolist() == [0]


def test_unknown_batch_size_is_refused() -> None:
    function = tf.function(partners, input_signature=[tf.TensorSpec([None, 2])])
    with pytest.raises(ValueError, match="batch size"):
        function(tf.zeros([4, 2]))
