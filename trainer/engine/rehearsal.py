"""Rehearsal: each stage's training and evaluation step once, at its real shapes, on made data.

Out of memory shows in the first minutes and names the stage and what would fit, not in the last
stage at hour six. What a rehearsal has built and compiled is what the run then uses, with its
weights put back.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import psutil
import tensorflow as tf

from trainer.engine.built_stage import BuildStage, BuiltStage
from trainer.errors import DeviceError
from trainer.input.canvases import CanvasRows, canvas_px_of
from trainer.input.feed import train_feed
from trainer.order import Order
from trainer.plan import StagePlan, fixed_recipe, plan_stages
from trainer.recipe import Recipe

_MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class RehearsedStage:
    """What one stage took."""

    name: str
    compile_secs: float
    """First training step and first evaluation step, tracing and compiling included."""
    step_secs: float
    """A second training step."""
    peak_mib: float
    """Highest memory of a device, or growth of the process on a CPU, in 2^20 bytes."""


class MadeExamples:
    """Random canvases with the interface of `Canvases` towards the feed."""

    dtype = np.uint8

    def __init__(self, num_examples: int, canvas_px: int):
        self.num_examples = num_examples
        self.canvas_px = canvas_px
        self.row_shape = (canvas_px, canvas_px, 3)

    def gather(self, indices: np.ndarray, epochs: np.ndarray | None = None) -> CanvasRows:
        """Noise, the same for every example."""
        rng = np.random.default_rng(0)
        canvas = rng.integers(0, 256, self.row_shape, np.uint8)
        num_rows = len(indices)
        return CanvasRows(
            images=np.broadcast_to(canvas, (num_rows, *self.row_shape)).copy(),
            aspects=np.ones(num_rows, np.float32),
            labels=np.zeros(num_rows, np.int32),
        )


def rehearse(
    strategy: tf.distribute.Strategy,
    recipe: Recipe,
    plans: Sequence[StagePlan],
    build: BuildStage,
    on_stage: Callable[[RehearsedStage], None],
) -> dict[int, BuiltStage]:
    """Rehearses stages, the last one first, and reports each.

    Returns:
        The stages by index, compiled and as if they had just been built. Stages on kept features
        are not among them: their steps are others. While a stage was tried, those behind it were
        kept, as they are while it trains; where that was too much they are given up.

    Raises:
        DeviceError: a stage does not fit; names it and the micro-batch that does.
    """
    kept: dict[int, BuiltStage] = {}
    for plan in reversed(plans):
        try:
            rehearsed, built = _try_giving_up(strategy, plan, build, kept)
        except tf.errors.ResourceExhaustedError as error:
            fitting = _fitting_replica_batch(strategy, recipe, plan, build)
            raise DeviceError(_does_not_fit(plan, fitting)) from error
        if not plan.stage.cache_feature_views:
            kept[plan.index] = built
        on_stage(rehearsed)
    return kept


def _try_giving_up(
    strategy: tf.distribute.Strategy,
    plan: StagePlan,
    build: BuildStage,
    kept: dict[int, BuiltStage],
) -> tuple[RehearsedStage, BuiltStage]:
    try:
        return _rehearse_stage(strategy, plan, build)
    except tf.errors.ResourceExhaustedError:
        if not kept:
            raise
    kept.clear()
    return _rehearse_stage(strategy, plan, build)


def _rehearse_stage(
    strategy: tf.distribute.Strategy, plan: StagePlan, build: BuildStage
) -> tuple[RehearsedStage, BuiltStage]:
    before = _reset_memory()
    stage = replace(plan.stage, cache_feature_views=0)
    plan = replace(plan, stage=stage)
    built = build(plan)
    state, evaluator = built.state, built.evaluator
    fresh = state.in_host_memory()
    examples = MadeExamples(plan.num_examples, canvas_px_of(stage.image_px))
    order = Order(
        seed=0,
        num_examples=plan.num_examples,
        batch_size=plan.global_batch,
        num_epochs=stage.epochs,
    )
    feed = train_feed(strategy, examples, order, plan, 0, 0)
    rate = np.array([plan.learning_rate], np.float32)
    started = time.monotonic()
    state.steps.run(feed, rate)
    state.steps.read_metrics()
    evaluator.logits(MadeExamples(1, examples.canvas_px))
    compiled = time.monotonic()
    state.steps.run(feed, rate)
    state.steps.read_metrics()
    rehearsed = RehearsedStage(
        name=stage.name,
        compile_secs=compiled - started,
        step_secs=time.monotonic() - compiled,
        peak_mib=_peak_memory(before) / _MIB,
    )
    state.restore(fresh)
    return rehearsed, replace(built, is_compiled=True)


def _fitting_replica_batch(
    strategy: tf.distribute.Strategy, recipe: Recipe, plan: StagePlan, build: BuildStage
) -> int | None:
    """The largest half, quarter, ... of the micro-batch that goes through; None if none does."""
    limit = plan.replica_batch // plan.num_micro_batches // 2
    while limit >= 1:
        smaller = replace(fixed_recipe(recipe, (plan,)), max_replica_batch=limit)
        (candidate,) = plan_stages(
            smaller, num_examples=plan.num_examples, num_replicas=plan.num_replicas
        )
        try:
            _rehearse_stage(strategy, candidate, build)
        except tf.errors.ResourceExhaustedError:
            limit //= 2
        else:
            return limit
    return None


def _does_not_fit(plan: StagePlan, fitting: int | None) -> str:
    held = plan.replica_batch // plan.num_micro_batches
    where = f"stage {plan.stage.name!r} at {plan.stage.image_px} px"
    if fitting is None:
        return (
            f"{where} does not fit into the device's memory even with one photo at a time; "
            "need a larger device or a smaller image; use --set "
            f"stages.{plan.stage.name}.image_px=..."
        )
    return (
        f"{where} does not fit into the device's memory with {held} photos a replica; {fitting} "
        f"fit; use --set max_replica_batch={fitting} to go through the batch in parts"
    )


def _reset_memory() -> int:
    gc.collect()
    for gpu in tf.config.list_logical_devices("GPU"):
        tf.config.experimental.reset_memory_stats(gpu.name)
    return int(psutil.Process().memory_info().rss)


def _peak_memory(before: int) -> int:
    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        return max(tf.config.experimental.get_memory_info(gpu.name)["peak"] for gpu in gpus)
    return max(0, int(psutil.Process().memory_info().rss) - before)
