"""Lowers the engine's training step of one stage to StableHLO.

    python -m trainer.lowering.lower --request=REQUEST.json --out=STEP.mlir

A process of its own: TensorFlow, the network and its trace take gigabytes that the compiler needs.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

from absl import flags

from tfrecords_builder import command_line
from trainer.plan import StagePlan, plan_stages
from trainer.recipe import Recipe
from trainer.run_record import recipe_from_json

FLAGS = flags.FLAGS


@dataclass(frozen=True, kw_only=True, slots=True)
class LoweringRequest:
    """Which step to lower."""

    recipe: Recipe
    stage: str
    num_examples: int
    num_classes: int
    num_replicas: int
    replica_batch: int | None = None
    """Rows that a replica holds; None for what the plan gives it."""
    batch_scaling: str = "fixed"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            name: self.recipe.to_json() if name == "recipe" else getattr(self, name)
            for name in self.__dataclass_fields__
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "LoweringRequest":
        """What `to_json` wrote."""
        return cls(**{**fields, "recipe": recipe_from_json(fields["recipe"])})

    def with_replica_batch(self, rows: int) -> "LoweringRequest":
        """The same step on another number of rows, in one part."""
        return replace(self, replica_batch=rows)

    def plan(self) -> StagePlan:
        """The plan of the stage on these replicas."""
        recipe = self.recipe
        names = [stage.name for stage in recipe.stages]
        if self.replica_batch is not None:
            stages = tuple(
                replace(stage, batch_size=self.replica_batch * self.num_replicas)
                if stage.name == self.stage
                else stage
                for stage in recipe.stages
            )
            recipe = replace(recipe, stages=stages, max_replica_batch=None)
        plans = plan_stages(
            recipe,
            num_examples=self.num_examples,
            num_replicas=self.num_replicas,
            batch_scaling=self.batch_scaling if self.replica_batch is None else "fixed",
        )
        return plans[names.index(self.stage)]


def lower_step(request: LoweringRequest) -> bytes:
    """The StableHLO of what one replica does in one step, as serialised MLIR.

    Arguments are batch, learning rate and every variable; variables that change are returned and
    alias their arguments.
    """
    import numpy as np
    import tensorflow as tf

    from trainer.augment.kernels import default_kernels_are
    from trainer.engine.stage_state import StageState
    from trainer.engine.steps import Batch
    from trainer.input.canvases import canvas_px_of
    from trainer.lowering.replica_strategy import OneOfManyReplicas

    plan = request.plan()
    strategy = OneOfManyReplicas(request.num_replicas)
    state = StageState(
        strategy,
        request.recipe,
        plan,
        request.num_classes,
        np.ones(request.num_classes),
        compile_with_xla=False,
    )
    rows = plan.replica_batch
    canvas_px = canvas_px_of(plan.stage.image_px)
    batch = Batch(
        canvases=tf.TensorSpec((rows, canvas_px, canvas_px, 3), tf.uint8),
        aspects=tf.TensorSpec((rows,), tf.float32),
        labels=tf.TensorSpec((rows,), tf.int32),
        weights=tf.TensorSpec((rows,), tf.float32),
        seeds=tf.TensorSpec((rows, 2), tf.int32),
    )

    def step(rate: tf.Tensor, *parts: tf.Tensor) -> None:
        strategy.run(state.steps._replica_step, args=(Batch(*parts), rate))

    with default_kernels_are("matrix"):
        return stablehlo_of(step, tf.TensorSpec((), tf.float32), *batch)


def stablehlo_of(step: Any, *specs: Any) -> bytes:
    """The StableHLO of a function of tensors and variables, as serialised MLIR."""
    import tensorflow as tf

    compiled = tf.function(step, jit_compile=True, autograph=False)
    text: bytes = compiled.experimental_get_compiler_ir(*specs)(stage="stablehlo_serialized")
    return text


def main() -> None:
    """Lowers what the request says."""
    from trainer.tensorflow_start import require_tensorflow

    with open(FLAGS.request) as file:
        request = LoweringRequest.from_json(json.load(file))
    require_tensorflow()
    module = lower_step(request)
    with open(FLAGS.out, "wb") as file:
        file.write(module)


if __name__ == "__main__":
    flags.DEFINE_string("request", None, "JSON file that says what to lower.", required=True)
    flags.DEFINE_string("out", None, "File for the StableHLO.", required=True)
    command_line.run(main)
