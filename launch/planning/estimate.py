"""The planner's formulas: memory, seconds and money of a stage, from counts alone.

    photo  = max(FLOPs / (share x peak), passes x activations x width / bandwidth)
    step   = photos of a replica x photo + OPTIMIZER_BYTES x trained parameters / bandwidth
    memory = 4 P + 12 T (16 T with an average) + rows x max(stored, frozen block + canvas)

P parameters, T trained ones, width 2 bytes in mixed precision and 4 in float32. EfficientNets move
so many numbers for each one they multiply that on an accelerator the second term of `photo` rules.
The constants are fitted to programs that the TPU compiler compiled, see docs/planning.md.
"""

import math
from dataclasses import dataclass, replace

from launch.planning.networks import split_cost
from trainer.accelerators import CPU_CORE_TFLOPS, Accelerator
from trainer.plan import StagePlan
from trainer.recipe import Recipe

PASSES_FORWARD = 4.0
"""Times the activations of a frozen block go to or from memory."""
PASSES_TRAINED = 17.0
"""The same, forward and backward."""
STORED_SHARE = {"frozen": 0.45, "train": 0.70}
"""Of the activations of trained blocks, what is kept for the way back, by BatchNorm policy."""
WORKING_SHARE = 0.5
"""Of the largest block's, what a frozen forward pass holds at once."""
PEAK_SHARE = 0.35
"""Of a GPU's or TPU's peak, what large convolutions reach."""
OPTIMIZER_BYTES = 36
"""Read and written for each trained parameter: gradient, weight and two moments."""
MIXING_FLOAT32_BYTES = 12
"""Of one canvas pixel's channel while it is augmented: three copies in float32."""
STEP_SECS = {"cpu": 2e-3, "gpu": 5e-3, "tpu": 2e-3}
"""Host call and launches."""
START_SECS = {"cpu": 15.0, "gpu": 120.0, "tpu": 240.0}
"""Of a stage: build, compile, rehearse."""
_GIB = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class InputRates:
    """Photos a second that the host can deliver for one stage."""

    first_epoch: float
    later: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StageEstimate:
    """What one stage takes."""

    plan: StagePlan
    memory_gib: float
    fits: bool
    photos_per_sec: float
    limit: str
    """compute | memory (its bandwidth) | input"""
    images_seen: int
    train_secs: float
    evaluate_secs: float
    start_secs: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.train_secs + self.evaluate_secs + self.start_secs


def estimate_stage(
    recipe: Recipe,
    plan: StagePlan,
    accelerator: Accelerator,
    *,
    num_validation: int = 0,
    num_cores: int = 2,
    input_rates: InputRates | None = None,
    speed_factor: float = 1.0,
) -> StageEstimate:
    """Estimates one stage.

    Args:
        recipe: with the precision that will be used.
        plan: of the stage.
        accelerator: where.
        num_validation: photos evaluated after each epoch.
        num_cores: of a CPU.
        input_rates: measured; None takes it that the input keeps up.
        speed_factor: measured over estimated speed of an earlier run; divides the device's time.
    """
    stage = plan.stage
    frozen, trained = split_cost(recipe.backbone, stage.train_from, stage.image_px)
    photo, limit = device_secs(recipe, plan, accelerator, num_cores)
    rows = math.ceil(plan.global_batch / plan.num_replicas)
    bandwidth = accelerator.gb_per_sec * 1e9
    update = OPTIMIZER_BYTES * trained.parameters / bandwidth
    step = (rows * photo + update + STEP_SECS[accelerator.kind]) / speed_factor
    device_rate = plan.global_batch / step
    images = plan.num_steps * plan.global_batch
    if stage.cache_feature_views:
        # The network runs once over each view; the head alone costs next to nothing.
        images_computed = stage.cache_feature_views * plan.num_examples
    else:
        images_computed = images
    train_secs = images_computed / device_rate
    rate = device_rate
    if input_rates is not None:
        first = min(plan.num_examples, images_computed)
        train_secs = max(first / input_rates.first_epoch, first / device_rate) + max(
            (images_computed - first) / input_rates.later, (images_computed - first) / device_rate
        )
        if input_rates.later < device_rate:
            rate, limit = input_rates.later, "input"
    evaluated = num_validation * (stage.epochs + 1)
    forward = _photo_secs(
        frozen.multiply_adds + trained.multiply_adds,
        (frozen.activations + trained.activations) * PASSES_FORWARD,
        recipe,
        accelerator,
        num_cores,
    )[0]
    memory = memory_gib(recipe, plan)
    return StageEstimate(
        plan=plan,
        memory_gib=memory,
        fits=memory <= accelerator.memory_gib,
        photos_per_sec=rate,
        limit=limit,
        images_seen=images,
        train_secs=train_secs,
        evaluate_secs=evaluated * forward / speed_factor / plan.num_replicas,
        start_secs=START_SECS[accelerator.kind],
    )


def device_secs(
    recipe: Recipe, plan: StagePlan, accelerator: Accelerator, num_cores: int
) -> tuple[float, str]:
    """Seconds of a replica for one photo in a training step, and which of the two terms it is."""
    frozen, trained = split_cost(recipe.backbone, plan.stage.train_from, plan.stage.image_px)
    return _photo_secs(
        frozen.multiply_adds + 3 * trained.multiply_adds,
        frozen.activations * PASSES_FORWARD + trained.activations * PASSES_TRAINED,
        recipe,
        accelerator,
        num_cores,
    )


def memory_gib(recipe: Recipe, plan: StagePlan) -> float:
    """Estimated peak of one replica's memory, 2^30 bytes."""
    stage = plan.stage
    frozen, trained = split_cost(recipe.backbone, stage.train_from, stage.image_px)
    parameters = frozen.parameters + trained.parameters
    state = 4 * parameters + (16 if stage.ema_decay else 12) * trained.parameters
    rows = math.ceil(plan.replica_batch / plan.num_micro_batches)
    canvas_px = math.ceil(stage.image_px * 8 / 7 / 8) * 8
    stored = STORED_SHARE[stage.batch_norm] * trained.activations * _width(recipe)
    working = WORKING_SHARE * frozen.largest_activations * _width(recipe)
    # The frozen part is over, and its memory free, before the trained one starts.
    photo = max(stored, working + MIXING_FLOAT32_BYTES * 3 * canvas_px**2)
    return (state + rows * photo) / _GIB


def largest_replica_batch(recipe: Recipe, plan: StagePlan, accelerator: Accelerator) -> int:
    """The rows that the memory formula gives room for; 0 where not even one fits."""
    one = replace(plan, replica_batch=1, num_micro_batches=1)
    none = replace(plan, replica_batch=0, num_micro_batches=1)
    state = memory_gib(recipe, none)
    photo = memory_gib(recipe, one) - state
    return max(0, math.floor((accelerator.memory_gib - state) / photo))


def _photo_secs(
    multiply_adds: float,
    passed_activations: float,
    recipe: Recipe,
    accelerator: Accelerator,
    num_cores: int,
) -> tuple[float, str]:
    if accelerator.kind == "cpu":
        return 2 * multiply_adds / (num_cores * CPU_CORE_TFLOPS * 1e12), "compute"
    peak = accelerator.peak_tflops
    if recipe.precision == "float32" and accelerator.kind == "gpu":
        peak /= 4
    compute = 2 * multiply_adds / (PEAK_SHARE * peak * 1e12)
    traffic = passed_activations * _width(recipe) / (accelerator.gb_per_sec * 1e9)
    return (compute, "compute") if compute > traffic else (traffic, "memory")


def _width(recipe: Recipe) -> int:
    return 4 if recipe.precision == "float32" else 2
