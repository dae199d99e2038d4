"""Says what a recipe will take on a machine, before it costs anything.

    python -m launch.plan --data=DATA --recipe=NAME --accelerator=v5e-8
    python -m launch.plan --num_examples=N --num_classes=K --recipe=NAME --accelerator=t4x2

Steps, batches, memory, minutes, what limits each stage, price and share of a quota, from the
recipe alone; --ledger and --input put measurements in the place of assumptions. --compile sends
each stage's real step through the real TPU compiler, --stablehlo writes it to a file; both need an
environment with the extra `aot` (--aot_python). docs/planning.md has more.
"""

import json
import os
import sys
from dataclasses import replace

from absl import flags

from launch.planning.estimate import StageEstimate, estimate_stage, largest_replica_batch
from launch.planning.measurements import load_input_rates, load_speed_factor
from launch.planning.prices import USD_PER_HOUR
from launch.planning.report import plan_json, report_lines
from tfrecords_builder import command_line
from trainer.accelerators import ACCELERATORS, load_accelerator
from trainer.errors import DataError, RecipeError
from trainer.plan import BATCH_SCALINGS, plan_stages
from trainer.recipe import PRECISIONS, Recipe

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command."""
    flags.DEFINE_string("recipe", None, "Name of a recipe, see trainer/recipes.", required=True)
    flags.DEFINE_enum("accelerator", "cpu", tuple(ACCELERATORS), "The machine to plan for.")
    flags.DEFINE_string("data", None, "Folder with built records: how many photos and classes.")
    flags.DEFINE_integer("num_examples", None, "Photos to train on, instead of --data.", 1)
    flags.DEFINE_integer("num_classes", 10, "Classes, beside --num_examples.", 1)
    flags.DEFINE_integer("num_validation", 0, "Photos to validate on, beside --num_examples.", 0)
    flags.DEFINE_multi_string("set", [], "Change of one field of the recipe; repeatable.")
    flags.DEFINE_enum("precision", None, PRECISIONS, "The recipe's by default.")
    flags.DEFINE_enum("batch_scaling", "fixed", BATCH_SCALINGS, "As in trainer.task.")
    flags.DEFINE_integer("num_cores", os.cpu_count() or 1, "Of --accelerator=cpu.", 1)
    flags.DEFINE_string("input", None, "What trainer.input_doctor --json measured.")
    flags.DEFINE_string("ledger", None, "Folder of a run on the same kind of device.")
    flags.DEFINE_float("usd_per_hour", None, "Price of the machine; by default from a table.", 0)
    flags.DEFINE_bool("json", False, "Print the plan as JSON.")
    flags.DEFINE_bool("compile", False, "Compile every stage with the TPU compiler.")
    flags.DEFINE_bool("largest_batch", False, "With --compile: search for what fits.")
    flags.DEFINE_bool("low_effort", False, "With --compile: a third of the time, no true cycles.")
    flags.DEFINE_string("stablehlo", None, "Write the step of --stage here, portable StableHLO.")
    flags.DEFINE_string("stage", None, "Only this stage; by default all.")
    flags.DEFINE_string("aot_python", sys.executable, "Python of an environment with extra aot.")
    flags.DEFINE_string("cache_dir", None, "What was compiled; ~/.cache/staged-trainer/aot.")
    flags.DEFINE_float("compile_memory_gib", 40.0, "Address space of one compilation.", 1)


def main() -> None:
    """Plans and prints."""
    recipe = _recipe()
    num_examples, num_validation, num_classes = _counts()
    accelerator = load_accelerator(FLAGS.accelerator)
    assumptions = [recipe.precision]
    if recipe.precision == "float32" and accelerator.kind != "cpu":
        assumptions = ["float32; --precision=mixed_bfloat16 halves the activations"]
    factor = 1.0
    if FLAGS.ledger:
        factor, said = load_speed_factor(FLAGS.ledger, accelerator)
        assumptions.append(said)
    elif accelerator.kind != "cpu":
        assumptions.append("the device's speed from its data sheet, see docs/planning.md")
    else:
        assumptions.append(f"{FLAGS.num_cores} cores of 98 GFLOP/s each")
    rates = load_input_rates(FLAGS.input, accelerator) if FLAGS.input else {}
    assumptions.append(
        f"input as measured in {FLAGS.input}" if rates else "the input keeps up (none measured)"
    )
    plans = plan_stages(
        recipe,
        num_examples=num_examples,
        num_replicas=accelerator.num_replicas,
        batch_scaling=FLAGS.batch_scaling,
    )
    estimates = [
        estimate_stage(
            recipe,
            plan,
            accelerator,
            num_validation=num_validation,
            num_cores=FLAGS.num_cores,
            input_rates=rates.get(plan.stage.name),
            speed_factor=factor,
        )
        for plan in plans
        if FLAGS.stage in (None, plan.stage.name)
    ]
    if not estimates:
        raise RecipeError(
            f"--stage={FLAGS.stage} is not in recipe {recipe.name}; need one of "
            f"{', '.join(stage.name for stage in recipe.stages)}; name one of them"
        )
    usd = FLAGS.usd_per_hour
    if usd is None:
        usd = USD_PER_HOUR[accelerator.name]
    if FLAGS.json:
        plan = plan_json(estimates, accelerator, usd, assumptions)
    else:
        print("\n".join(report_lines(estimates, accelerator, usd, assumptions)), flush=True)
    compiled = None
    if FLAGS.compile or FLAGS.stablehlo:
        compiled = _compile(recipe, estimates, num_classes)
    if FLAGS.json:
        print(json.dumps({**plan, **({"compiled": compiled} if compiled else {})}, indent=1))


def _compile(
    recipe: Recipe, estimates: list[StageEstimate], num_classes: int
) -> list[dict[str, object]] | None:
    """Prints the compiler's table, or returns it as data with --json."""
    # Here and not above: a plan alone needs none of this.
    from dataclasses import asdict
    from pathlib import Path

    from launch.planning.compiling import compile_stages, compiled_lines, lowering_request
    from trainer.lowering.processes import CompilerProcesses, default_cache_dir
    from trainer.lowering.topologies import load_topology

    topology = load_topology(FLAGS.accelerator)
    processes = CompilerProcesses(
        python=FLAGS.aot_python,
        cache_dir=Path(FLAGS.cache_dir) if FLAGS.cache_dir else default_cache_dir(),
        memory_gib=FLAGS.compile_memory_gib,
    )
    if FLAGS.stablehlo:
        if len(estimates) != 1:
            raise RecipeError(
                f"--stablehlo with {len(estimates)} stages; need one; add --stage=NAME"
            )
        plan = estimates[0].plan
        request = lowering_request(
            recipe, plan, num_classes=num_classes, batch_scaling=FLAGS.batch_scaling
        )
        processes.write_portable(request, FLAGS.stablehlo)
        if not FLAGS.json:
            print(f"wrote {FLAGS.stablehlo}: stage {plan.stage.name}, one of "
                  f"{topology.num_replicas} replicas")  # fmt: skip
    if not FLAGS.compile:
        return None
    accelerator = load_accelerator(FLAGS.accelerator)
    stages = list(
        compile_stages(
            processes,
            recipe,
            estimates,
            topology,
            num_classes=num_classes,
            batch_scaling=FLAGS.batch_scaling,
            low_effort=FLAGS.low_effort,
            searches=FLAGS.largest_batch,
            usable_batch=lambda plan: largest_replica_batch(recipe, plan, accelerator),
        )
    )
    if not FLAGS.json:
        print("\n".join(compiled_lines(stages, recipe, topology)))
    return [
        {
            "stage": stage.estimate.plan.stage.name,
            "kind": type(stage.result).__name__,
            **asdict(stage.result),
            "step_minutes": stage.step_minutes(topology),
            "largest_fitting": stage.largest_fitting,
            "smallest_refused": stage.smallest_refused,
            "recomputed_share": stage.recomputed_share(),
        }
        for stage in stages
    ]


def _recipe() -> Recipe:
    from trainer.overrides import apply_overrides
    from trainer.recipes import load_recipe

    recipe = apply_overrides(load_recipe(FLAGS.recipe), tuple(FLAGS.set))
    return replace(recipe, precision=FLAGS.precision) if FLAGS.precision else recipe


def _counts() -> tuple[int, int, int]:
    """Photos to train and to validate on, and classes."""
    if FLAGS.data:
        from tfrecords_builder.manifest import load_manifest

        manifest = load_manifest(FLAGS.data)
        sizes = {name: split.num_examples for name, split in manifest.splits.items()}
        if not sizes.get("train"):
            raise DataError(
                f"{FLAGS.data!r} has no train split; need labelled photos; build the records again"
            )
        return sizes["train"], sizes.get("val", 0), len(manifest.classes)
    if FLAGS.num_examples is None:
        raise DataError(
            "neither --data nor --num_examples was given; need to know how many photos there are; "
            "add one of them"
        )
    return FLAGS.num_examples, FLAGS.num_validation, FLAGS.num_classes


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
