"""AdamW on plain variables, with the running average of the weights and the float16 loss scale.

Gradients arrive already summed over the replicas, so every replica makes the same update by
itself. Nothing here keeps a state that is not in `variables()`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

FIRST_LOSS_SCALE = 2.0**15
LOWEST_LOSS_SCALE = 1.0
STEPS_TO_GROW_LOSS_SCALE = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamSettings:
    """What an update needs besides the gradients; learning rates come with each step."""

    beta_1: float
    beta_2: float
    epsilon: float
    weight_decay: float
    clip_norm: float | None
    ema_decay: float | None
    scales_loss: bool
    """Dynamic loss scaling, for float16."""


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    Args:
        weights: the trainable variables by name. Create under the strategy's scope.
        rate_factors: per variable, a factor on the learning rate (layer-wise decay).
        settings: see `AdamSettings`. Decay acts on variables of rank 2 and more: not on biases and
            BatchNorm.
    """

    def __init__(
        self,
        weights: Mapping[str, tf.Variable],
        rate_factors: Mapping[str, float],
        settings: AdamSettings,
    ):
        self._weights = dict(weights)
        self._rate_factors = dict(rate_factors)
        self._settings = settings
        self._first = {
            name: _zeros_like(variable, name, "m") for name, variable in self._weights.items()
        }
        self._second = {
            name: _zeros_like(variable, name, "v") for name, variable in self._weights.items()
        }
        self._averages = {
            name: tf.Variable(variable, trainable=False, name=_flat_name(name, "ema"))
            for name, variable in (self._weights.items() if settings.ema_decay else ())
        }
        self._num_updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="num_updates")
        self.loss_scale = tf.Variable(
            FIRST_LOSS_SCALE if settings.scales_loss else LOWEST_LOSS_SCALE,
            dtype=tf.float32,
            trainable=False,
            name="loss_scale",
        )
        self._good_steps = tf.Variable(0, dtype=tf.int64, trainable=False, name="good_steps")

    def variables(self) -> dict[str, tf.Variable]:
        """All state by stable names."""
        state = {"optimizer/num_updates": self._num_updates}
        if self._settings.scales_loss:
            state |= {
                "optimizer/loss_scale": self.loss_scale,
                "optimizer/good_steps": self._good_steps,
            }
        for kind, slots in (("m", self._first), ("v", self._second), ("ema", self._averages)):
            state |= {f"optimizer/{kind}/{name}": variable for name, variable in slots.items()}
        return state

    @property
    def num_updates(self) -> int:
        """Updates that were made; a step whose gradients are not finite makes none."""
        return int(self._num_updates.numpy())

    def averaged(self) -> dict[str, tuple[tf.Variable, tf.Variable]]:
        """Pairs (weight, its running average) by name; empty without `ema_decay`."""
        return {name: (self._weights[name], average) for name, average in self._averages.items()}

    def update(
        self, gradients: Mapping[str, tf.Tensor], rate: tf.Tensor, gradient_factor: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One step; gradients times `gradient_factor` are float32, of the scaled mean loss.

        A gradient that is not finite changes nothing but the loss scale. Everything that scales
        gradients is one factor, and Adam one kernel: as single operations, the update of
        EfficientNetV2-B0 went through memory about 25 times.

        Returns:
            (norm of the unscaled gradient before clipping, whether the update was made).
        """
        settings = self._settings
        scale = gradient_factor / self.loss_scale
        norm = tf.linalg.global_norm(list(gradients.values())) * scale
        finite = tf.math.is_finite(norm)
        if settings.clip_norm is not None:
            scale *= settings.clip_norm / tf.maximum(norm, settings.clip_norm)
        scale = tf.where(finite, scale, 0.0)
        self._num_updates.assign_add(tf.cast(finite, tf.int64))
        count = tf.cast(tf.maximum(self._num_updates, 1), tf.float32)
        # With these, a step that must change nothing is one: m += (g - m) (1 - 1), and so on.
        rate = tf.where(finite, rate, 0.0)
        beta_1 = tf.where(finite, settings.beta_1, 1.0)
        beta_2 = tf.where(finite, settings.beta_2, 1.0)
        power_1, power_2 = (tf.pow(beta, count) for beta in (settings.beta_1, settings.beta_2))
        # The average warms up, so that the first weights do not linger in short stages.
        ema_decay = tf.minimum(settings.ema_decay or 0.0, (1 + count) / (10 + count))
        ema_change = tf.where(finite, 1 - ema_decay, 0.0)
        for name, gradient in gradients.items():
            weight, own_rate = self._weights[name], rate * self._rate_factors[name]
            if settings.weight_decay and weight.shape.rank >= 2:
                weight.assign(weight * (1 - own_rate * settings.weight_decay))
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle,
                m=self._first[name].handle,
                v=self._second[name].handle,
                beta1_power=power_1,
                beta2_power=power_2,
                lr=own_rate,
                beta1=beta_1,
                beta2=beta_2,
                epsilon=settings.epsilon,
                # Zero times infinity is zero here.
                grad=tf.math.multiply_no_nan(gradient, scale),
            )
            if name in self._averages:
                average = self._averages[name]
                average.assign_add(ema_change * (weight - average))
        if settings.scales_loss:
            self._adjust_loss_scale(finite)
        return norm, finite

    def _adjust_loss_scale(self, finite: tf.Tensor) -> None:
        """Halves on overflow, doubles after many good steps (Micikevicius et al. 2018)."""
        good = tf.where(finite, self._good_steps + 1, 0)
        grows = good >= STEPS_TO_GROW_LOSS_SCALE
        self._good_steps.assign(tf.where(grows, tf.zeros_like(good), good))
        grown = tf.where(grows, self.loss_scale * 2, self.loss_scale)
        self.loss_scale.assign(
            tf.where(finite, grown, tf.maximum(self.loss_scale / 2, LOWEST_LOSS_SCALE))
        )


def _zeros_like(variable: tf.Variable, name: str, kind: str) -> tf.Variable:
    return tf.Variable(
        tf.zeros(variable.shape, tf.float32), trainable=False, name=_flat_name(name, kind)
    )


def _flat_name(name: str, kind: str) -> str:
    return f"{kind}_{name.replace('/', '_')}"
