"""The planner's formulas: against what was measured, and how they move."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.planning.compiling import find_largest
from launch.planning.estimate import (
    InputRates,
    estimate_stage,
    largest_replica_batch,
    memory_gib,
)
from launch.planning.measurements import load_input_rates, load_speed_factor
from launch.planning.networks import split_cost
from launch.planning.report import plan_json, report_lines
from tests.trainer.making import make_recipe, make_stage
from trainer.accelerators import ACCELERATORS, load_accelerator
from trainer.errors import DataError, DeviceError, RecipeError, RunFolderError
from trainer.plan import plan_stages
from trainer.recipes import load_recipe, recipe_names

CPU = load_accelerator("cpu")
V5E = load_accelerator("v5e-8")


def plan_one(stage, accelerator=V5E, num_examples=1000, **recipe_fields):
    recipe = make_recipe(stage, backbone="EfficientNetB5", **recipe_fields)
    (plan,) = plan_stages(recipe, num_examples=num_examples, num_replicas=accelerator.num_replicas)
    return recipe, plan


def test_cars_small_takes_on_two_cores_what_it_took():
    # Seconds in steps of the run of which docs/training.md tells: 112, 236 and 73.
    recipe = load_recipe("cars_small")
    plans = plan_stages(recipe, num_examples=680, num_replicas=1)[1:]
    estimates = [estimate_stage(recipe, plan, CPU, num_cores=2).train_secs for plan in plans]
    assert estimates == pytest.approx([112, 236, 73], rel=0.15)


@pytest.mark.parametrize(("number", "compiled_gib"), [(0, 0.184), (1, 0.416), (2, 0.690)])
def test_memory_of_compiled_stages_is_guessed_within_a_third(number, compiled_gib):
    # Peaks of ford_vs_ferrari on v5e-8 as the TPU compiler gave them.
    recipe = dataclasses.replace(load_recipe("ford_vs_ferrari"), precision="mixed_bfloat16")
    plans = plan_stages(recipe, num_examples=12449, num_replicas=8)
    assert memory_gib(recipe, plans[number]) == pytest.approx(compiled_gib, rel=0.34)


def test_memory_of_a_large_compiled_batch_is_guessed():
    recipe, plan = plan_one(
        make_stage(image_px=456, batch_size=128 * 8, train_from="block5a"),
        precision="mixed_bfloat16",
    )
    assert memory_gib(recipe, plan) == pytest.approx(6.66, rel=0.1)


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_every_recipe_can_be_planned_everywhere(name, accelerator):
    recipe, machine = load_recipe(name), load_accelerator(accelerator)
    try:
        plans = plan_stages(recipe, num_examples=5000, num_replicas=machine.num_replicas)
    except DeviceError:
        return  # More replicas than the batch has photos.
    for plan in plans:
        estimate = estimate_stage(recipe, plan, machine)
        assert estimate.seconds > 0
        assert estimate.memory_gib > 0


def test_freezing_saves_time_and_memory():
    everything, half, head = (
        estimate_stage(*plan_one(make_stage(batch_size=64, train_from=border)), V5E)
        for border in ("all", "block5a", "head")
    )
    assert everything.train_secs > half.train_secs > head.train_secs
    assert everything.memory_gib > half.memory_gib > head.memory_gib


@given(st.integers(1, 8), st.sampled_from(["all", "block3a", "head"]))
def test_memory_grows_with_the_batch(doubling, border):
    small, large = (
        memory_gib(*plan_one(make_stage(batch_size=8 * rows, train_from=border)))
        for rows in (doubling, doubling * 2)
    )
    assert large > small


def test_the_largest_batch_fills_the_memory():
    recipe, plan = plan_one(make_stage(batch_size=64, image_px=456))
    rows = largest_replica_batch(recipe, plan, V5E)
    at = dataclasses.replace(plan, replica_batch=rows)
    above = dataclasses.replace(plan, replica_batch=rows + 1)
    assert memory_gib(recipe, at) <= V5E.memory_gib < memory_gib(recipe, above)


def test_slow_input_is_what_limits():
    recipe, plan = plan_one(make_stage(batch_size=64))
    free = estimate_stage(recipe, plan, V5E)
    rates = InputRates(first_epoch=10, later=20)
    fed = estimate_stage(recipe, plan, V5E, input_rates=rates)
    assert fed.limit == "input"
    # An epoch of 1,000 photos at 10 a second, and one (and a rest) at 20.
    assert fed.train_secs == pytest.approx(100 + (plan.num_steps * 64 - 1000) / 20)
    assert free.limit != "input"


def test_fast_input_changes_nothing():
    recipe, plan = plan_one(make_stage(batch_size=64))
    rates = InputRates(first_epoch=1e9, later=1e9)
    assert estimate_stage(recipe, plan, V5E, input_rates=rates) == estimate_stage(recipe, plan, V5E)


def test_an_unknown_block_is_told():
    with pytest.raises(RecipeError, match="block9z"):
        split_cost("EfficientNetB0", "block9z", 224)


def test_border_splits_everything_in_two():
    whole = split_cost("EfficientNetB5", "all", 224)[1]
    below, above = split_cost("EfficientNetB5", "block5a", 224)
    assert below.parameters + above.parameters == whole.parameters
    assert below.multiply_adds + above.multiply_adds == pytest.approx(whole.multiply_adds)


@given(st.integers(0, 200), st.integers(1, 200), st.integers(1, 64))
def test_search_finds_the_last_rung_that_fits(capacity, guess, limit):
    tried = []

    def fits(rows):
        tried.append(rows)
        return rows <= capacity

    largest, refused = find_largest(fits, guess, limit)
    assert largest <= capacity
    assert refused is None or refused > capacity
    assert len(tried) == len(set(tried))
    assert max(tried) <= limit


def test_a_good_guess_needs_two_tries():
    tried = []
    find_largest(lambda rows: tried.append(rows) or rows <= 50, 50)
    assert tried == [48, 64]


def make_run(
    tmp_path, steps_secs, strategy="OneDeviceStrategy: 1 replica on CPU with 2 cores", epoch=2
):
    recipe = make_recipe(make_stage(image_px=64, epochs=2))
    record = {
        "schema_version": 1,
        "settings": {"recipe": recipe.to_json(), "batch_scaling": "fixed"},
        "devices": {"strategy": strategy, "num_replicas": 1},
        "data": {"splits": {"train": 100}},
        "history": [{"stage": "finish", "epoch": epoch}],
        "seconds": {"finish": {"step": steps_secs, "compile": 5.0}},
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    return recipe


def test_a_ledger_half_as_fast_gives_half_the_factor(tmp_path):
    make_run(tmp_path, 1.0)
    fast, _ = load_speed_factor(str(tmp_path), CPU)
    make_run(tmp_path, 2.0)
    slow, _ = load_speed_factor(str(tmp_path), CPU)
    assert fast == pytest.approx(2 * slow)


def test_a_calibrated_estimate_is_what_the_ledger_says(tmp_path):
    recipe = make_run(tmp_path, 60.0)
    factor, _ = load_speed_factor(str(tmp_path), CPU)
    (plan,) = plan_stages(recipe, num_examples=100, num_replicas=1)
    estimate = estimate_stage(recipe, plan, CPU, num_cores=2, speed_factor=factor)
    assert estimate.train_secs == pytest.approx(60, rel=0.1)


def test_a_ledger_of_another_device_is_refused(tmp_path):
    make_run(tmp_path, 1.0)
    with pytest.raises(RunFolderError, match="ran on a cpu"):
        load_speed_factor(str(tmp_path), V5E)


def test_a_ledger_of_a_run_that_was_stopped_in_its_first_epoch_is_refused(tmp_path):
    make_run(tmp_path, 60.0, epoch=0)
    with pytest.raises(RunFolderError, match="need a run that trained"):
        load_speed_factor(str(tmp_path), CPU)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match=r"trainer\.task"):
        load_speed_factor(str(tmp_path), CPU)


def make_doctor(tmp_path, **changes):
    stage = {
        "name": "finish",
        "image_px": 224,
        "read_per_sec": 1000,
        "decode_per_sec": 500,
        "gather_per_sec": 9000,
        "augment_per_sec": 1,
        "transfer_mib_per_sec": 375,
    }
    path = tmp_path / "input.json"
    record = {"schema_version": 1, "host": {"cores": 2}, "stages": [stage | changes]}
    path.write_text(json.dumps(record))
    return str(path)


def test_the_doctor_s_slowest_part_counts(tmp_path):
    rates = load_input_rates(make_doctor(tmp_path), V5E)["finish"]
    # A canvas of 256 px is 0.1875 MiB.
    assert (rates.first_epoch, rates.later) == (500, 2000)


def test_a_cpu_transfers_nothing(tmp_path):
    assert load_input_rates(make_doctor(tmp_path), CPU)["finish"].later == 9000


def test_a_file_that_is_not_the_doctor_s_is_refused(tmp_path):
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(DataError, match="input_doctor"):
        load_input_rates(str(path), V5E)


def test_report_and_json_agree():
    recipe, plan = plan_one(make_stage(batch_size=64))
    estimates = [estimate_stage(recipe, plan, V5E)]
    lines = report_lines(estimates, V5E, 9.6, ["x"])
    record = plan_json(estimates, V5E, 9.6, ["x"])
    assert f"{record['stages'][0]['minutes']:.1f}" == lines[1].split()[-1]
    assert f"{record['usd']:.2f} USD" in lines[2]


def test_what_does_not_fit_is_said():
    recipe, plan = plan_one(make_stage(batch_size=8000, image_px=456))
    lines = report_lines([estimate_stage(recipe, plan, V5E)], V5E, 0, [])
    assert any("max_replica_batch" in line for line in lines)
