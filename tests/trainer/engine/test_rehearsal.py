"""Rehearsal: every stage is tried before the first one starts, and then used."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.engine.conftest import Recorder, assert_same_weights, two_stages
from tfrecords_builder.manifest import Manifest
from trainer.engine import rehearsal
from trainer.engine.built_stage import BuiltStage, build_stage
from trainer.engine.evaluation_step import EvaluationStep
from trainer.engine.rehearsal import RehearsedStage, rehearse
from trainer.engine.steps import TrainSteps
from trainer.errors import DeviceError
from trainer.plan import plan_stages
from trainer.progress import Progress


def run_rehearsal(
    strategy: tf.distribute.Strategy, manifest: Manifest
) -> tuple[list[RehearsedStage], dict[int, BuiltStage]]:
    recipe, seen = two_stages(), []
    plans = plan_stages(recipe, num_examples=48, num_replicas=1)
    kept = rehearse(
        strategy,
        recipe,
        plans,
        lambda plan: build_stage(strategy, recipe, plan, manifest, 0, False),
        seen.append,
    )
    return seen, kept


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the training and evaluation steps that were traced."""
    traces: list[str] = []
    train, evaluate = TrainSteps._replica_step, EvaluationStep.__init__

    def counting_train(self, batch, rate):
        traces.append(f"train {self._plan.stage.name}")
        return train(self, batch, rate)

    def counting_evaluation(self, strategy, network, *others, **options):
        def counted(images, training):
            traces.append("evaluate")
            return network(images, training=training)

        evaluate(self, strategy, counted, *others, **options)

    monkeypatch.setattr(TrainSteps, "_replica_step", counting_train)
    monkeypatch.setattr(EvaluationStep, "__init__", counting_evaluation)
    return traces


def test_a_rehearsed_run_traces_nothing_twice_and_is_the_undisturbed_one(
    undisturbed: tuple[Path, Recorder],
    start_run: Callable[..., Progress],
    traced: list[str],
    tmp_path: Path,
) -> None:
    recorder = Recorder()
    start_run(tmp_path, recorder=recorder, rehearses=True)
    assert traced == ["train upper", "evaluate", "train head", "evaluate"]
    assert recorder.records == undisturbed[1].records
    assert_same_weights(tmp_path, undisturbed[0])


def test_every_stage_is_tried_the_last_one_first(
    one_device: tf.distribute.Strategy, manifest: Manifest
) -> None:
    seen, kept = run_rehearsal(one_device, manifest)
    assert [stage.name for stage in seen] == ["upper", "head"]
    assert all(stage.compile_secs > stage.step_secs > 0 for stage in seen)
    assert all(np.isfinite(stage.peak_mib) for stage in seen)
    assert kept.keys() == {0, 1}


def stand_in(monkeypatch: pytest.MonkeyPatch, fits: Callable[[str, int], bool]) -> None:
    """Replaces the rehearsal of a stage by a question: stage and micro-batch."""

    def rehearse_stage(strategy, plan, build):
        if not fits(plan.stage.name, plan.replica_batch // plan.num_micro_batches):
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
        name = plan.stage.name
        return RehearsedStage(name=name, compile_secs=1, step_secs=1, peak_mib=1), name

    monkeypatch.setattr(rehearsal, "_rehearse_stage", rehearse_stage)


def test_out_of_memory_names_the_stage_and_what_fits(
    one_device: tf.distribute.Strategy, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, lambda name, batch: name == "head" or batch <= 5)
    with pytest.raises(DeviceError, match=r"stage 'upper'.*16 photos a replica; 4 fit") as caught:
        run_rehearsal(one_device, manifest)
    assert "--set max_replica_batch=4" in str(caught.value)


def test_stages_that_fit_only_alone_are_not_kept_for_each_other(
    one_device: tf.distribute.Strategy, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fits(name: str, batch: int) -> bool:
        asked.append(name)
        return asked != ["upper", "head"]

    stand_in(monkeypatch, fits)
    seen, kept = run_rehearsal(one_device, manifest)
    assert asked == ["upper", "head", "head"]
    assert [stage.name for stage in seen] == ["upper", "head"]
    assert kept == {0: "head"}
