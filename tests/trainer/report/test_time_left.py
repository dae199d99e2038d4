import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.making import make_recipe, make_stage
from trainer.plan import plan_stages
from trainer.report.time_left import run_seconds_left, stage_seconds_left


def plans_of(*stages):
    return plan_stages(make_recipe(*stages), num_examples=100, num_replicas=1)


def test_a_stage_takes_its_images_and_its_evaluations():
    (plan,) = plans_of(make_stage(name="a", epochs=3, batch_size=10))
    assert stage_seconds_left(plan, 0, 0.1, 2.0) == pytest.approx(300 * 0.1 + 3 * 2.0)


def test_a_stage_that_is_done_takes_nothing():
    (plan,) = plans_of(make_stage(name="a", epochs=3, batch_size=10))
    assert stage_seconds_left(plan, plan.num_steps, 0.1, 2.0) == 0


def test_later_stages_are_scaled_by_their_pixels_and_by_what_they_train():
    small = make_stage(name="a", epochs=1, batch_size=10, image_px=32, train_from="head")
    large = make_stage(name="b", epochs=1, batch_size=10, image_px=64, train_from="all")
    plans = plans_of(small, large)
    left = run_seconds_left(plans, plans[0], plans[0].num_steps, 0.1, 0.0)
    assert left == pytest.approx(100 * 0.1 * 4 * 3)


def test_kept_features_say_nothing_about_the_stages_behind_them():
    head = make_stage(name="a", train_from="head", cache_feature_views=2)
    plans = plans_of(head, make_stage(name="b", train_from="all"))
    assert run_seconds_left(plans, plans[0], 0, 0.1, 1.0) is None


def test_the_last_stage_s_time_is_the_run_s_time():
    plans = plans_of(make_stage(name="a"), make_stage(name="b"))
    assert run_seconds_left(plans, plans[1], 1, 0.1, 1.0) == stage_seconds_left(
        plans[1], 1, 0.1, 1.0
    )


@given(st.integers(0, 29))
def test_time_left_falls_with_every_step(step):
    (plan,) = plans_of(make_stage(name="a", epochs=3, batch_size=10))
    assert stage_seconds_left(plan, step + 1, 0.1, 2.0) < stage_seconds_left(plan, step, 0.1, 2.0)
