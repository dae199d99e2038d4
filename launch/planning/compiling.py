"""`--compile`: every stage through the real TPU compiler, and the largest batch that fits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from launch.planning.estimate import StageEstimate, largest_replica_batch
from launch.planning.report import table
from trainer.accelerators import load_accelerator
from trainer.lowering.lower import LoweringRequest
from trainer.lowering.processes import CompilerProcesses
from trainer.lowering.program_report import CompiledProgram, OutOfMemory
from trainer.lowering.topologies import Topology
from trainer.plan import StagePlan
from trainer.recipe import Recipe

LARGEST_TRIED = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledStage:
    """What the compiler said about one stage."""

    estimate: StageEstimate
    result: CompiledProgram | OutOfMemory
    largest_fitting: int | None
    """Rows of a replica; None if not searched for, 0 if not even one fits."""
    smallest_refused: int | None
    """None if nothing was refused."""
    largest: CompiledProgram | None
    """The program at `largest_fitting`, at low effort."""

    def step_minutes(self, topology: Topology) -> float | None:
        """Expected minutes in steps, from the estimated cycles; None if it does not fit."""
        if isinstance(self.result, OutOfMemory):
            return None
        return topology.seconds(self.result.cycles) * self.estimate.plan.num_steps / 60

    def recomputed_share(self) -> float | None:
        """FLOPs for each photo at the largest batch over those at the planned one, minus 1."""
        if self.largest is None or not self.largest_fitting:
            return None
        if isinstance(self.result, OutOfMemory):
            return None
        rows = self.estimate.plan.replica_batch // self.estimate.plan.num_micro_batches
        return (self.largest.flops / self.largest_fitting) / (self.result.flops / rows) - 1


def lowering_request(
    recipe: Recipe, plan: StagePlan, *, num_classes: int, batch_scaling: str
) -> LoweringRequest:
    """What to lower for a stage as it is planned."""
    return LoweringRequest(
        recipe=recipe,
        stage=plan.stage.name,
        num_examples=plan.num_examples,
        num_classes=num_classes,
        num_replicas=plan.num_replicas,
        batch_scaling=batch_scaling,
    )


def compile_stages(
    processes: CompilerProcesses,
    recipe: Recipe,
    estimates: Sequence[StageEstimate],
    topology: Topology,
    *,
    num_classes: int,
    batch_scaling: str,
    low_effort: bool,
    searches: bool,
    usable_batch: Callable[[StagePlan], int],
) -> Iterator[CompiledStage]:
    """Compiles each stage as planned, then searches for its largest batch at low effort."""
    for estimate in estimates:
        plan = estimate.plan
        request = lowering_request(
            recipe, plan, num_classes=num_classes, batch_scaling=batch_scaling
        )
        result = processes.compile(processes.lower(request), topology, low_effort=low_effort)
        programs: dict[int, CompiledProgram] = {}
        largest = refused = None
        if searches:

            def fits(
                rows: int,
                request: LoweringRequest = request,
                programs: dict[int, CompiledProgram] = programs,
            ) -> bool:
                module = processes.lower(request.with_replica_batch(rows))
                found = processes.compile(module, topology, low_effort=True)
                if isinstance(found, CompiledProgram):
                    programs[rows] = found
                return isinstance(found, CompiledProgram)

            largest, refused = find_largest(fits, usable_batch(plan))
        yield CompiledStage(
            estimate=estimate,
            result=result,
            largest_fitting=largest,
            smallest_refused=refused,
            largest=programs.get(largest) if largest else None,
        )


def find_largest(
    fits: Callable[[int], bool], guess: int, limit: int = LARGEST_TRIED
) -> tuple[int, int | None]:
    """The largest size of the ladder 1, 2, 3, 4, 6, 8, 12, 16, 24, ... that fits.

    Starts at the rung at or below `guess` and climbs up or down from there, so a good guess costs
    two tries.

    Returns:
        (what fits, 0 if not even 1 does; the next rung, which does not fit, None above `limit`).
    """
    ladder = list(_ladder(limit))
    rung = max((i for i, size in enumerate(ladder) if size <= guess), default=0)
    if fits(ladder[rung]):
        while rung + 1 < len(ladder):
            if not fits(ladder[rung + 1]):
                return ladder[rung], ladder[rung + 1]
            rung += 1
        return ladder[rung], None
    while rung > 0:
        if fits(ladder[rung - 1]):
            return ladder[rung - 1], ladder[rung]
        rung -= 1
    return 0, ladder[0]


def _ladder(limit: int) -> Iterator[int]:
    size = 1
    while size <= limit:
        yield size
        if size > 1 and size * 3 // 2 <= limit:
            yield size * 3 // 2
        size *= 2


def compiled_lines(
    stages: Sequence[CompiledStage], recipe: Recipe, topology: Topology
) -> list[str]:
    """The compiler's table beside the planner's own guess."""
    rows: list[tuple[str, ...]] = [
        (
            "compiled",
            "GiB",
            "guess",
            "kcycles a step",
            "minutes",
            "guess",
            "all-reduces",
            "aliased MiB",
            "recomputed",
            "largest batch",
            "refused",
            "guess",
        )
    ]
    for stage in stages:
        estimate, result = stage.estimate, stage.result
        accelerator_guess = f"{stage.estimate.memory_gib:.2f}"
        largest = "-" if stage.largest_fitting is None else f"{stage.largest_fitting} a replica"
        share = stage.recomputed_share()
        if share is not None and share > 0.02:
            largest += f" ({share:+.0%} FLOPs)"
        refused = "-" if stage.smallest_refused is None else str(stage.smallest_refused)
        guess = str(_guess(recipe, estimate, topology))
        if isinstance(result, OutOfMemory):
            needed = "?" if result.needed_gib is None else f"{result.needed_gib:.1f}"
            name = f"{estimate.plan.stage.name}: does not fit"
            row = (name, f"{needed} needed", accelerator_guess, *["-"] * 6, largest, refused, guess)
            rows.append(row)
            continue
        rows.append(
            (
                estimate.plan.stage.name,
                f"{result.peak_gib:.2f}",
                accelerator_guess,
                f"{result.cycles / 1e3:,.0f}",
                f"{stage.step_minutes(topology) or 0:.1f}",
                f"{estimate.train_secs / 60:.1f}",
                str(result.num_all_reduces),
                f"{result.aliased_bytes / 2**20:.0f}",
                str(result.num_recomputed),
                largest,
                refused,
                guess,
            )
        )
    legend = (
        f"of {topology.hbm_gib} GiB a replica; minutes: cycles at {topology.clock_ghz} GHz times "
        "steps, without input, evaluation and compiling"
    )
    return [*table(rows), legend]


def _guess(recipe: Recipe, estimate: StageEstimate, topology: Topology) -> int:
    return largest_replica_batch(recipe, estimate.plan, load_accelerator(topology.name))
