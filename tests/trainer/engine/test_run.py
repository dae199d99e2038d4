"""Whole tiny runs: resume bit for bit, the same on any number of replicas."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.engine.conftest import Recorder, assert_same_weights, mirrored, two_stages
from trainer.errors import DataError, LossError, Preempted
from trainer.progress import Progress
from trainer.recipe import Recipe

StartRun = Callable[..., Progress]


def test_a_run_carries_its_best_weights_from_stage_to_stage(
    undisturbed: tuple[Path, Recorder],
) -> None:
    _, recorder = undisturbed
    assert [(record.stage, record.epoch) for record in recorder.records] == [
        ("head", 1),
        ("head", 2),
        ("upper", 0),
        ("upper", 1),
        ("upper", 2),
    ]
    best_head = min(record.val_loss for record in recorder.records[:2])
    assert recorder.records[2].train_loss is None
    assert recorder.records[2].val_loss != best_head  # the same weights at another size
    assert all(np.isfinite(loss) for loss in recorder.losses)


def test_every_epoch_tells_the_time_spent_so_far(undisturbed: tuple[Path, Recorder]) -> None:
    # Also between checkpoints, of which this run has none but at the ends of its stages.
    steps = [seconds["step"] for seconds in undisturbed[1].seconds]
    assert 0 < steps[0] < steps[1] <= steps[2] < steps[3] < steps[4]


def test_the_same_run_twice_is_identical(
    undisturbed: tuple[Path, Recorder], start_run: StartRun, tmp_path: Path
) -> None:
    recorder = Recorder()
    start_run(tmp_path, recorder=recorder)
    assert recorder.records == undisturbed[1].records
    assert_same_weights(tmp_path, undisturbed[0])


@pytest.mark.slow
def test_a_run_stopped_after_every_host_call_is_identical(
    undisturbed: tuple[Path, Recorder], start_run: StartRun, tmp_path: Path
) -> None:
    recorder, num_starts = Recorder(), 0
    while True:
        num_starts += 1
        try:
            start_run(tmp_path, stop_after=1, recorder=recorder)
            break
        except Preempted:
            continue
    assert num_starts > 8
    assert recorder.records == undisturbed[1].records
    assert_same_weights(tmp_path, undisturbed[0])


def test_a_run_stopped_in_each_stage_is_identical(
    undisturbed: tuple[Path, Recorder], start_run: StartRun, tmp_path: Path
) -> None:
    for stop_after in (2, 5):
        with pytest.raises(Preempted):
            start_run(tmp_path, stop_after=stop_after)
    start_run(tmp_path)
    assert_same_weights(tmp_path, undisturbed[0])


def test_a_broken_newest_checkpoint_falls_back_to_the_one_before(
    undisturbed: tuple[Path, Recorder],
    start_run: StartRun,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(Preempted):
        start_run(tmp_path, stop_after=3, checkpoint_secs=0.0, num_kept=9)
    newest = sorted((tmp_path / "checkpoints").glob("*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    start_run(tmp_path)
    assert "broken checkpoint" in caplog.text
    assert_same_weights(tmp_path, undisturbed[0])


# TensorFlow keeps the group of a collective for the life of a process: one number of replicas here,
# another one in tests/trainer/test_task.py.
def test_losses_do_not_depend_on_the_number_of_replicas(
    undisturbed: tuple[Path, Recorder], start_run: StartRun, tmp_path: Path
) -> None:
    recorder = Recorder()
    start_run(tmp_path, strategy=mirrored(2), recorder=recorder)
    for ours, expected in zip(recorder.records, undisturbed[1].records, strict=True):
        assert (ours.stage, ours.epoch, ours.step) == (
            expected.stage,
            expected.epoch,
            expected.step,
        )
        for name in ("train_loss", "val_loss"):
            value = getattr(expected, name)
            if value is not None:
                assert getattr(ours, name) == pytest.approx(value, rel=2e-3), (
                    f"{ours.stage} {ours.epoch} {name}"
                )


def test_accumulated_micro_batches_give_the_same_gradients(
    undisturbed: tuple[Path, Recorder], start_run: StartRun, tmp_path: Path
) -> None:
    # A head without its BatchNorm would be exact; batch statistics see the micro-batch alone.
    recipe = two_stages(max_replica_batch=10)
    recorder = Recorder()
    start_run(tmp_path, recipe=replace(recipe, stages=recipe.stages[:1]), recorder=recorder)
    for ours, expected in zip(recorder.records, undisturbed[1].records, strict=False):
        assert ours.train_loss == pytest.approx(expected.train_loss, rel=0.1)


def test_a_head_on_kept_features_sees_what_it_would_see_on_photos(
    undisturbed: tuple[Path, Recorder], start_run: StartRun, tmp_path: Path
) -> None:
    recipe = two_stages()
    head = replace(recipe.stages[0], cache_feature_views=recipe.stages[0].epochs)
    recorder = Recorder()
    start_run(tmp_path, recipe=replace(recipe, stages=(head,)), recorder=recorder)
    for ours, expected in zip(recorder.records, undisturbed[1].records, strict=False):
        assert ours.train_loss == pytest.approx(expected.train_loss, rel=1e-4)
        assert ours.val_loss == pytest.approx(expected.val_loss, rel=1e-4)


def test_views_of_kept_features_are_used_in_turn(start_run: StartRun, tmp_path: Path) -> None:
    recipe = two_stages()
    head = replace(recipe.stages[0], cache_feature_views=1, epochs=3)
    recorder = Recorder()
    with pytest.raises(Preempted):
        start_run(tmp_path, recipe=replace(recipe, stages=(head,)), stop_after=2)
    start_run(tmp_path, recipe=replace(recipe, stages=(head,)), recorder=recorder)
    assert [record.epoch for record in recorder.records][-1] == 3


def exploding() -> Recipe:
    """A head that learns so fast that it never lands."""
    recipe = two_stages()
    head = replace(
        recipe.stages[0], learning_rate=1e6, train_from="all", batch_norm="train", epochs=3
    )
    return replace(recipe, stages=(head,))


def test_an_exploded_loss_leaves_a_capsule(start_run: StartRun, tmp_path: Path) -> None:
    with pytest.raises(LossError, match=r"python -m trainer\.replay") as caught:
        start_run(tmp_path, recipe=exploding())
    facts = json.loads((Path(caught.value.capsule) / "capsule.json").read_text())
    assert facts["stage"] == "head"
    assert [len(batch["ids"]) for batch in facts["batches"]] == [20] * len(facts["learning_rates"])
    assert all(name.startswith("car-") for batch in facts["batches"] for name in batch["ids"])


def test_only_the_chief_writes_a_capsule(
    start_run: StartRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.engine.run.is_chief", lambda strategy: False)
    with pytest.raises(LossError) as caught:
        start_run(tmp_path, recipe=exploding())
    assert not Path(caught.value.capsule).exists()


def test_rollbacks_halve_the_rate_until_there_are_no_more(
    start_run: StartRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(LossError):
        start_run(tmp_path, recipe=exploding(), max_rollbacks=1)
    assert caplog.text.count("rolled back") == 1


def test_a_record_that_cannot_be_read_is_one_clear_line(
    start_run: StartRun, data_dir: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "data"
    shutil.copytree(data_dir, broken)
    shard = next(broken.glob("*train*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    with pytest.raises(DataError, match="checksum"):
        start_run(tmp_path / "run", data_dir=str(broken))
