"""Rehearsal: every stage is tried before the first one starts."""

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.engine.conftest import two_stages
from trainer.engine import rehearsal
from trainer.engine.rehearsal import RehearsedStage, rehearse
from trainer.errors import DeviceError
from trainer.plan import plan_stages


def run_rehearsal(strategy: tf.distribute.Strategy) -> list[RehearsedStage]:
    recipe, seen = two_stages(), []
    plans = plan_stages(recipe, num_examples=48, num_replicas=1)
    rehearse(strategy, recipe, plans, 10, 6, False, seen.append)
    return seen


def test_every_stage_is_tried_and_reported(one_device: tf.distribute.Strategy) -> None:
    seen = run_rehearsal(one_device)
    assert [stage.name for stage in seen] == ["head", "upper"]
    assert all(stage.compile_secs > stage.step_secs > 0 for stage in seen)
    assert all(np.isfinite(stage.peak_mib) for stage in seen)


def test_out_of_memory_names_the_stage_and_what_fits(
    one_device: tf.distribute.Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = rehearsal._rehearse_stage

    def device_that_holds_five(strategy, recipe, plan, *others):
        if plan.stage.name == "upper" and plan.replica_batch // plan.num_micro_batches > 5:
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
        if plan.stage.name == "head":
            return real(strategy, recipe, plan, *others)
        return None

    monkeypatch.setattr(rehearsal, "_rehearse_stage", device_that_holds_five)
    with pytest.raises(DeviceError, match=r"stage 'upper'.*16 photos a replica; 4 fit") as caught:
        run_rehearsal(one_device)
    assert "--set max_replica_batch=4" in str(caught.value)
