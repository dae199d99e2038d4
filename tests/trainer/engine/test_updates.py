"""Updates that were left out, since a gradient was not finite: counted, told, and an end."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.engine.conftest import Recorder, two_stages
from tfrecords_builder.manifest import Manifest
from trainer.engine.steps import TrainSteps
from trainer.errors import Preempted, TrainingError
from trainer.progress import Progress
from trainer.recipe import Recipe

StartRun = Callable[..., Progress]


def head(**changes: object) -> Recipe:
    """The first of the two stages alone."""
    recipe = two_stages()
    return replace(recipe, stages=(replace(recipe.stages[0], **changes),))


@pytest.fixture
def break_gradients(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the gradients of every n-th batch infinite; which those are, the batches decide."""
    whole = TrainSteps._gradients

    def break_every(num_batches: int) -> None:
        def broken(steps: TrainSteps, batch, rows, loss_scale: tf.Tensor) -> list[tf.Tensor]:
            *gradients, sums = whole(steps, batch, rows, loss_scale)
            bad = tf.equal(tf.math.floormod(tf.reduce_sum(batch.labels), num_batches), 0)
            return [tf.where(bad, np.inf, gradient) for gradient in gradients] + [sums]

        monkeypatch.setattr(TrainSteps, "_gradients", broken)

    return break_every


def test_updates_that_were_left_out_are_counted_by_epoch(
    break_gradients: Callable[[int], None], start_run: StartRun, tmp_path: Path
) -> None:
    break_gradients(2)
    recorder = Recorder()
    start_run(tmp_path, recipe=head(batch_size=4, epochs=3), recorder=recorder)
    counts = [record.num_skipped for record in recorder.records]
    assert all(0 < count < 11 for count in counts), counts


def test_the_count_goes_on_behind_a_stop_in_the_middle_of_an_epoch(
    break_gradients: Callable[[int], None], start_run: StartRun, tmp_path: Path
) -> None:
    break_gradients(2)
    recipe = head(batch_size=4, epochs=3)
    undisturbed, resumed = Recorder(), Recorder()
    start_run(tmp_path / "one", recipe=recipe, recorder=undisturbed)
    for stop_after in (7, 9, None):
        try:
            start_run(
                tmp_path / "two",
                recipe=recipe,
                recorder=resumed,
                stop_after=stop_after,
                max_steps_per_call=1,
            )
        except Preempted:
            continue
    assert [(record.epoch, record.num_skipped) for record in resumed.records] == [
        (record.epoch, record.num_skipped) for record in undisturbed.records
    ]


def test_an_epoch_without_a_single_update_ends_the_run(
    break_gradients: Callable[[int], None], start_run: StartRun, tmp_path: Path
) -> None:
    break_gradients(1)
    recorder = Recorder()
    with pytest.raises(TrainingError, match=r"none of the 3 updates of epoch 1 of stage 'head'"):
        start_run(tmp_path, recipe=head(), recorder=recorder)
    assert not recorder.records
    # A second start that is stopped on the way comes to the same end.
    with pytest.raises(Preempted):
        start_run(tmp_path, recipe=head(), stop_after=2, max_steps_per_call=1)
    with pytest.raises(TrainingError, match="none of the 3 updates"):
        start_run(tmp_path, recipe=head())


def test_a_loss_scale_may_fall_through_a_whole_epoch(
    monkeypatch: pytest.MonkeyPatch, start_run: StartRun, manifest: Manifest, tmp_path: Path
) -> None:
    # It halves with each step, and float16 ends at 2^16.
    monkeypatch.setattr("trainer.engine.optimizer.FIRST_LOSS_SCALE", 2.0**126)
    recipe = replace(head(batch_size=1, epochs=3), precision="mixed_float16")
    recorder = Recorder()
    start_run(tmp_path, recipe=recipe, recorder=recorder)
    counts = [record.num_skipped for record in recorder.records]
    num_steps = manifest.splits["train"].num_examples
    assert counts[0] == num_steps > counts[-1], counts


def test_a_stage_without_a_single_update_ends_the_run(
    break_gradients: Callable[[int], None], start_run: StartRun, tmp_path: Path
) -> None:
    break_gradients(1)
    recipe = replace(head(epochs=2), precision="mixed_float16")
    with pytest.raises(TrainingError, match=r"no update of stage 'head' was made"):
        start_run(tmp_path, recipe=recipe)
