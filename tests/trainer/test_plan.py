"""Plans and schedules: pure functions, over their whole range."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.making import make_recipe, make_stage
from trainer.augment.config import Augmentation
from trainer.errors import DeviceError
from trainer.plan import StageVariables, fixed_recipe, plan_stages, plan_table
from trainer.schedules import learning_rate_at


@given(
    num_examples=st.integers(1, 5000),
    batch_size=st.integers(1, 300),
    num_replicas=st.sampled_from([1, 2, 3, 4, 8]),
    epochs=st.integers(1, 20),
    max_replica_batch=st.sampled_from([None, 1, 7, 64]),
    mixes=st.booleans(),
)
def test_a_plan_covers_every_example_and_fits_the_replicas(
    num_examples: int,
    batch_size: int,
    num_replicas: int,
    epochs: int,
    max_replica_batch: int | None,
    mixes: bool,
) -> None:
    stage = make_stage(
        batch_size=batch_size,
        epochs=epochs,
        augmentation=Augmentation(mixup_alpha=0.2 if mixes else 0.0),
    )
    recipe = make_recipe(stage, max_replica_batch=max_replica_batch)
    if batch_size < num_replicas:
        with pytest.raises(DeviceError, match=f"batch_size={batch_size}"):
            plan_stages(recipe, num_examples=num_examples, num_replicas=num_replicas)
        return
    (plan,) = plan_stages(recipe, num_examples=num_examples, num_replicas=num_replicas)
    assert plan.global_batch == batch_size
    assert plan.padded_batch >= plan.global_batch
    assert plan.replica_batch % plan.num_micro_batches == 0
    micro_batch = plan.replica_batch // plan.num_micro_batches
    assert not mixes or micro_batch % 2 == 0
    if max_replica_batch is not None:
        # A pair that is mixed cannot be parted.
        assert micro_batch <= max(max_replica_batch, 2 if mixes else 1)
    assert plan.num_steps * batch_size >= epochs * num_examples > (plan.num_steps - 1) * batch_size
    ends = [plan.epoch_end(epoch) for epoch in range(epochs)]
    assert ends == sorted(ends)
    assert ends[-1] == plan.num_steps


@given(num_examples=st.integers(1, 300), batch_size=st.integers(1, 300), epochs=st.integers(1, 9))
def test_every_epoch_that_ends_has_steps_of_its_own(
    num_examples: int, batch_size: int, epochs: int
) -> None:
    recipe = make_recipe(make_stage(batch_size=batch_size, epochs=epochs))
    (plan,) = plan_stages(recipe, num_examples=num_examples, num_replicas=1)
    step, ended = 0, [0]
    while ended[-1] < epochs:
        before, step = step, plan.epoch_end(ended[-1])
        assert step > before
        ended.append(plan.epochs_done(step))
        assert plan.epochs_done(step - 1) < ended[-1]
    assert step == plan.num_steps
    if batch_size <= num_examples:
        assert ended == list(range(epochs + 1))


def test_fixed_scaling_keeps_batch_and_rate() -> None:
    recipe = make_recipe(make_stage(batch_size=64))
    plans = [
        plan_stages(recipe, num_examples=1000, num_replicas=replicas)[0] for replicas in (1, 8)
    ]
    assert {plan.global_batch for plan in plans} == {64}
    assert {plan.learning_rate for plan in plans} == {0.1}
    assert {plan.num_steps for plan in plans} == {32}


@pytest.mark.parametrize(("scaling", "factor"), [("linear", 8), ("sqrt", math.sqrt(8))])
def test_per_replica_scaling_multiplies_batch_and_rate_and_warms_up(
    scaling: str, factor: float
) -> None:
    recipe = make_recipe(make_stage(batch_size=16))
    (plan,) = plan_stages(
        recipe, num_examples=1280, num_replicas=8, batch_scaling="per_replica", rate_scaling=scaling
    )
    assert plan.global_batch == 128
    assert plan.learning_rate == pytest.approx(0.1 * factor)
    assert plan.warmup_steps == 10


def test_epochs_count_on_over_the_stages() -> None:
    plans = plan_stages(
        make_recipe(make_stage(name="head", epochs=3), make_stage()),
        num_examples=10,
        num_replicas=1,
    )
    assert [plan.first_epoch for plan in plans] == [0, 3]


def test_the_table_names_every_stage() -> None:
    plans = plan_stages(
        make_recipe(make_stage(name="head"), make_stage()), num_examples=10, num_replicas=2
    )
    lines = plan_table(plans).splitlines()
    assert [line.split()[0] for line in lines] == ["stage", "head", "finish"]
    assert "2 x 2" in lines[1]


def test_the_table_says_how_much_of_the_network_each_stage_trains() -> None:
    plans = plan_stages(make_recipe(make_stage(name="head")), num_examples=10, num_replicas=1)
    variables = StageVariables(
        stage="head",
        trained_parameters=1290,
        frozen_parameters=98000,
        statistics_parameters=10,
        trained_variables=4,
        frozen_variables=90,
        trained_batch_norms=1,
        frozen_batch_norms=14,
    )
    header, row = plan_table(plans, (variables,)).splitlines()
    assert header.endswith("trained parameters  BatchNorm trained")
    assert row.endswith("1,290 of 99,300     1 of 15")


@given(
    num_examples=st.integers(1, 3000),
    batch_size=st.integers(1, 64),
    num_replicas=st.sampled_from([2, 4, 8]),
    epochs=st.integers(1, 9),
    warmup=st.floats(0, 1),
)
def test_a_scaled_plan_is_found_again_on_one_replica(
    num_examples: int, batch_size: int, num_replicas: int, epochs: int, warmup: float
) -> None:
    recipe = make_recipe(
        make_stage(batch_size=batch_size, epochs=epochs, warmup_epochs=warmup * epochs)
    )
    (scaled,) = plan_stages(
        recipe, num_examples=num_examples, num_replicas=num_replicas, batch_scaling="per_replica"
    )
    (again,) = plan_stages(
        fixed_recipe(recipe, [scaled]), num_examples=num_examples, num_replicas=1
    )
    assert (again.global_batch, again.num_steps) == (scaled.global_batch, scaled.num_steps)
    assert [again.learning_rate_at(step) for step in range(again.num_steps)] == [
        scaled.learning_rate_at(step) for step in range(scaled.num_steps)
    ]


def curve(
    num_steps: int, warmup_steps: int, schedule: str, final_fraction: float = 0.0
) -> np.ndarray:
    return np.array(
        [
            learning_rate_at(
                step,
                peak=0.5,
                num_steps=num_steps,
                warmup_steps=warmup_steps,
                schedule=schedule,
                final_fraction=final_fraction,
            )
            for step in range(num_steps + 3)
        ]
    )


@given(num_steps=st.integers(1, 200), share=st.floats(0, 1))
def test_whole_cosine_curve(num_steps: int, share: float) -> None:
    warmup = int(share * (num_steps - 1))
    rates = curve(num_steps, warmup, "cosine", final_fraction=0.1)
    expected = np.empty(num_steps)
    expected[:warmup] = 0.5 * np.arange(1, warmup + 1) / max(1, warmup)
    angle = np.pi * np.arange(num_steps - warmup) / (num_steps - warmup)
    expected[warmup:] = 0.5 * (0.1 + 0.9 * (1 + np.cos(angle)) / 2)
    np.testing.assert_allclose(rates[:num_steps], expected, rtol=1e-12)
    assert (rates[num_steps:] == rates[num_steps - 1]).all()


def test_constant_after_warm_up() -> None:
    np.testing.assert_allclose(curve(6, 2, "constant"), [0.25, *[0.5] * 8])
