"""From a recipe, a data set and a number of replicas to what each stage will do, step by step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trainer.errors import DeviceError
from trainer.recipe import Recipe, Stage
from trainer.schedules import learning_rate_at

BATCH_SCALINGS = ("fixed", "per_replica")
RATE_SCALINGS = ("linear", "sqrt")


@dataclass(frozen=True, kw_only=True, slots=True)
class StagePlan:
    """One stage on the devices at hand; `first_epoch` counts the epochs of the stages before it."""

    index: int
    stage: Stage
    num_examples: int
    num_replicas: int
    global_batch: int
    """Examples in one optimizer step."""
    replica_batch: int
    """Rows that one replica holds in one step; rows behind the global batch have weight 0."""
    num_micro_batches: int
    """Parts in which a replica goes through its share, gradients summed."""
    learning_rate: float
    warmup_steps: int
    num_steps: int
    first_epoch: int

    @property
    def padded_batch(self) -> int:
        """Rows of a step over all replicas, padding included."""
        return self.replica_batch * self.num_replicas

    def epoch_end(self, epoch: int) -> int:
        """The number of steps after which epoch `epoch` (from 0) has been seen whole."""
        return math.ceil((epoch + 1) * self.num_examples / self.global_batch)

    def epochs_done(self, step: int) -> int:
        """Epochs that have been seen whole after `step` steps.

        A batch that is larger than the training split ends several at once.
        """
        return min(self.stage.epochs, step * self.global_batch // self.num_examples)

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of step `step` before any reduction on a plateau."""
        return learning_rate_at(
            step,
            peak=self.learning_rate,
            num_steps=self.num_steps,
            warmup_steps=self.warmup_steps,
            schedule=self.stage.schedule,
            final_fraction=self.stage.final_learning_rate,
        )


def plan_stages(
    recipe: Recipe,
    *,
    num_examples: int,
    num_replicas: int,
    batch_scaling: str = "fixed",
    rate_scaling: str = "linear",
) -> tuple[StagePlan, ...]:
    """Plans every stage; pure.

    `fixed` keeps the recipe's global batch and divides it over the replicas. `per_replica` takes
    the recipe's batch as that of one replica, multiplies it by the replicas and scales the learning
    rate by the same factor (linear, Goyal et al. 2017) or its square root, with at least one epoch
    of warm-up.

    Raises:
        DeviceError: a global batch smaller than the number of replicas.
    """
    plans: list[StagePlan] = []
    first_epoch = 0
    for index, stage in enumerate(recipe.stages):
        factor = num_replicas if batch_scaling == "per_replica" else 1
        global_batch = stage.batch_size * factor
        if global_batch < num_replicas:
            raise DeviceError(
                f"stage {stage.name!r}: batch_size={global_batch} is smaller than the "
                f"{num_replicas} replicas; "
                "need at least one example each; use --set "
                f"stages.{stage.name}.batch_size={num_replicas}, "
                "fewer devices or --batch_scaling=per_replica"
            )
        share = math.ceil(global_batch / num_replicas)
        # Mixing partners are neighbours in the batch: an even share keeps each pair on one replica
        # and so the same on any number of them.
        together = 2 if stage.augmentation.mixes else 1
        num_micro_batches = 1
        if (limit := recipe.max_replica_batch) is not None:
            num_micro_batches = math.ceil(share / max(together, limit // together * together))
        multiple = num_micro_batches * together
        replica_batch = math.ceil(share / multiple) * multiple
        warmup_epochs = max(stage.warmup_epochs, 1.0) if factor > 1 else stage.warmup_epochs
        num_steps = math.ceil(stage.epochs * num_examples / global_batch)
        plans.append(
            StagePlan(
                index=index,
                stage=stage,
                num_examples=num_examples,
                num_replicas=num_replicas,
                global_batch=global_batch,
                replica_batch=replica_batch,
                num_micro_batches=num_micro_batches,
                learning_rate=stage.learning_rate
                * (factor if rate_scaling == "linear" else math.sqrt(factor)),
                warmup_steps=min(num_steps, round(warmup_epochs * num_examples / global_batch)),
                num_steps=num_steps,
                first_epoch=first_epoch,
            )
        )
        first_epoch += stage.epochs
    return tuple(plans)


def fixed_recipe(recipe: Recipe, plans: Sequence[StagePlan]) -> Recipe:
    """The recipe whose plan is the same on any number of replicas: batches and rates as planned."""
    stages = tuple(
        replace(
            plan.stage,
            batch_size=plan.global_batch,
            learning_rate=plan.learning_rate,
            warmup_epochs=min(
                float(plan.stage.epochs),
                plan.warmup_steps * plan.global_batch / plan.num_examples,
            ),
        )
        for plan in plans
    )
    return replace(recipe, stages=stages)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageVariables:
    """What of the network one stage changes."""

    stage: str
    trained_parameters: int
    frozen_parameters: int
    """The moving statistics of BatchNorm layers that do not train are among them."""
    statistics_parameters: int
    """Moving statistics that the stage changes, without gradients."""
    trained_variables: int
    frozen_variables: int
    trained_batch_norms: int
    """Layers in training mode."""
    frozen_batch_norms: int
    """Layers in inference mode."""

    @property
    def num_parameters(self) -> int:
        """Of the whole network."""
        return self.trained_parameters + self.frozen_parameters + self.statistics_parameters


def plan_table(plans: Sequence[StagePlan], variables: Sequence[StageVariables] = ()) -> str:
    """The plan as a table for people, one line a stage; with `variables`, what each trains."""
    header = ("stage", "trains", "px", "batch", "replica x micro", "rate", "epochs", "steps")
    rows: list[tuple[str, ...]] = [header]
    rows += [
        (
            plan.stage.name,
            plan.stage.train_from,
            str(plan.stage.image_px),
            str(plan.global_batch),
            f"{plan.num_replicas} x {plan.replica_batch}"
            + (f" in {plan.num_micro_batches}" if plan.num_micro_batches > 1 else ""),
            f"{plan.learning_rate:.2g}",
            str(plan.stage.epochs),
            str(plan.num_steps),
        )
        for plan in plans
    ]
    if variables:
        rows[0] += ("trained parameters", "BatchNorm trained")
        for number, each in enumerate(variables, 1):
            num_norms = each.trained_batch_norms + each.frozen_batch_norms
            rows[number] += (
                f"{each.trained_parameters:,} of {each.num_parameters:,}",
                f"{each.trained_batch_norms} of {num_norms}",
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
