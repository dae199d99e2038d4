"""Everything on the devices that belongs to one stage, and its way to host memory and back."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from trainer.engine.optimizer import AdamSettings, AdamW
from trainer.engine.steps import TrainSteps
from trainer.errors import RunFolderError
from trainer.network.build import Network, StageNetwork, build_network, cut_for_stage
from trainer.plan import StagePlan
from trainer.recipe import Recipe


class StageState:
    """Network, optimizer and compiled steps of one stage, created under the strategy's scope."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        recipe: Recipe,
        plan: StagePlan,
        num_classes: int,
        class_weights: np.ndarray,
        compile_with_xla: bool,
        on_features: bool = False,
        seed: int = 0,
    ):
        stage = plan.stage
        self._stage_name = stage.name
        self.num_classes = num_classes
        with strategy.scope():
            self.network: Network = build_network(recipe, num_classes, stage.image_px, seed)
            self.cut: StageNetwork = cut_for_stage(self.network, stage)
            weights = {name: variable.value for name, variable in self.cut.trainable.items()}
            factors = {name: stage.layer_decay ** self.cut.depth[name] for name in weights}
            self.optimizer = AdamW(weights, factors, _adam_settings(recipe, plan))
            self.steps = TrainSteps(
                strategy,
                plan,
                self.cut,
                self.optimizer,
                num_classes,
                class_weights,
                compile_with_xla,
                on_features,
            )
        self._strategy = strategy
        self._network_variables = {
            name: variable.value for name, variable in self.network.variables().items()
        }
        self._swap = tf.function(self._swap_everywhere, autograph=False)

    def load_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Sets the network's variables; the running averages start from them.

        Raises:
            RunFolderError: the arrays are of another network.
        """
        self._assign(self._network_variables, arrays)
        for weight, average in self.optimizer.averaged().values():
            average.assign(weight.read_value())

    def weights(self) -> dict[str, np.ndarray]:
        """The network's variables in host memory."""
        return _read(self._network_variables)

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Sets everything from a checkpoint of the same stage of the same recipe.

        Raises:
            RunFolderError: it is of another one.
        """
        self._assign(self._all_variables(), arrays)

    def in_host_memory(self) -> dict[str, np.ndarray]:
        """Everything that `restore` sets, as of now."""
        return _read(self._all_variables())

    def snapshot(self) -> dict[str, tf.Tensor]:
        """Everything that an exact resume needs, as of now, still on the devices.

        Nothing is copied here: a variable whose value is held elsewhere gets new memory when it is
        next assigned. Copying the state of EfficientNetV2-B0 kept the loop waiting for 93 ms.
        """
        return {name: variable.read_value() for name, variable in self._all_variables().items()}

    def swap_averages(self) -> None:
        """Exchanges weights and their running averages, exactly; twice changes nothing."""
        if self.optimizer.averaged():
            self._swap()

    def _swap_everywhere(self) -> None:
        def replica_swap() -> None:
            for weight, average in self.optimizer.averaged().values():
                old_weight, old_average = tf.identity(weight), tf.identity(average)
                with tf.control_dependencies([old_weight, old_average]):
                    weight.assign(old_average)
                    average.assign(old_weight)

        self._strategy.run(replica_swap)

    def _assign(
        self, variables: Mapping[str, tf.Variable], arrays: Mapping[str, np.ndarray]
    ) -> None:
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        differing = sorted(
            name
            for name in shapes.keys() | arrays.keys()
            if name not in arrays or shapes.get(name) != tuple(arrays[name].shape)
        )
        if differing:
            shown = ", ".join(differing[:3]) + (", ..." if len(differing) > 3 else "")
            raise RunFolderError(
                f"what the run has learnt does not fit stage {self._stage_name!r} (differing: "
                f"{shown}); need the network, the trained part and the optimizer that saved it; "
                "take back what --allow_changes let pass, or use another --run_dir"
            )
        for name, variable in variables.items():
            variable.assign(arrays[name])

    def _all_variables(self) -> dict[str, tf.Variable]:
        return self._network_variables | self.optimizer.variables() | self.steps.variables()


def _adam_settings(recipe: Recipe, plan: StagePlan) -> AdamSettings:
    stage = plan.stage
    return AdamSettings(
        beta_1=recipe.adam_beta_1,
        beta_2=recipe.adam_beta_2,
        epsilon=recipe.adam_epsilon,
        weight_decay=stage.weight_decay,
        clip_norm=stage.clip_norm,
        ema_decay=stage.ema_decay,
        scales_loss=recipe.precision == "mixed_float16",
    )


def _read(variables: Mapping[str, tf.Variable]) -> dict[str, np.ndarray]:
    return {name: np.asarray(variable.numpy()) for name, variable in variables.items()}
