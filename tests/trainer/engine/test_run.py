"""Whole tiny runs: resume bit for bit, the same on any number of replicas."""

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.engine.conftest import (
    Recorder,
    assert_same_weights,
    mirrored,
    two_stages,
)
from tfrecords_builder.manifest import Manifest
from trainer.errors import DataError, LossError, Preempted
from trainer.inference import _read_weights
from trainer.progress import Progress, total_seconds
from trainer.recipe import Recipe
from trainer.run_record import MODEL_FILE

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


def test_a_run_told_to_stop_at_the_end_of_a_stage_does_not_begin_the_next(
    undisturbed: tuple[Path, Recorder], start_run: StartRun, tmp_path: Path
) -> None:
    recorder = Recorder()

    class StopAfterHead:
        def reason(self, secs_to_finish: float) -> str | None:
            return "test" if len(recorder.records) == 2 else None

    with pytest.raises(Preempted, match="before stage 'upper'"):
        start_run(tmp_path, recorder=recorder, stop=StopAfterHead())
    # What the first stage has brought can be used.
    recipe = two_stages()
    model = _read_weights(str(tmp_path), MODEL_FILE, recipe)
    assert (model.image_px, model.stage) == (32, recipe.stages[0])
    start_run(tmp_path)
    assert_same_weights(tmp_path, undisturbed[0])


def test_a_run_with_other_batches_goes_on_behind_the_same_example(
    start_run: StartRun, manifest: Manifest, tmp_path: Path
) -> None:
    def head(batch_size: int) -> Recipe:
        recipe = two_stages()
        stage = replace(recipe.stages[0], batch_size=batch_size, epochs=3)
        return replace(recipe, stages=(stage,))

    recorder = Recorder()
    with pytest.raises(Preempted):
        start_run(tmp_path, recipe=head(5), recorder=recorder, stop_after=13, max_steps_per_call=1)
    start_run(tmp_path, recipe=head(20), recorder=recorder)
    # The 65 photos of 13 batches fill 3 of the new ones: 10 steps more were made than they count.
    num_photos = manifest.splits["train"].num_examples
    assert [(record.epoch, record.step) for record in recorder.records] == [
        (1, math.ceil(num_photos / 5)),
        (2, 10 + math.ceil(2 * num_photos / 20)),
        (3, 10 + math.ceil(3 * num_photos / 20)),
    ]


def test_a_batch_larger_than_the_split_ends_several_epochs_at_once(
    start_run: StartRun, tmp_path: Path
) -> None:
    recipe, recorder = two_stages(), Recorder()
    head = replace(recipe.stages[0], batch_size=100, epochs=4, early_stopping_patience=1)
    start_run(tmp_path, recipe=replace(recipe, stages=(head,)), recorder=recorder)
    assert [(record.epoch, record.step) for record in recorder.records] == [(2, 1), (4, 2)]
    assert all(record.train_loss for record in recorder.records)


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


def test_a_head_on_kept_features_sees_what_it_would_see_on_photos(
    undisturbed: tuple[Path, Recorder], start_run: StartRun, tmp_path: Path
) -> None:
    recipe = two_stages()
    head = replace(recipe.stages[0], cache_feature_views=recipe.stages[0].epochs)
    recorder = Recorder()
    start_run(tmp_path, recipe=replace(recipe, stages=(head,)), recorder=recorder)
    for ours, expected in zip(recorder.records, undisturbed[1].records[:2], strict=True):
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
    assert [len(batch["ids"]) for batch in facts["batches"]] == [19] * len(facts["learning_rates"])
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


@pytest.mark.parametrize(("split", "views"), [("train", 0), ("train", 2), ("val", 0)])
def test_a_record_that_cannot_be_read_is_one_clear_line(
    split: str, views: int, start_run: StartRun, data_dir: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "data"
    shutil.copytree(data_dir, broken)
    shard = next(broken.glob(f"*{split}*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    recipe = two_stages()
    head = replace(recipe.stages[0], cache_feature_views=views)
    with pytest.raises(DataError, match="checksum"):
        start_run(tmp_path / "run", recipe=replace(recipe, stages=(head,)), data_dir=str(broken))


def test_the_ledger_adds_up_to_the_time_that_a_run_took(
    start_run: StartRun, tmp_path: Path
) -> None:
    started = time.monotonic()
    recipe = two_stages()
    progress = start_run(tmp_path, recipe=replace(recipe, stages=recipe.stages[:1]))
    spent = sum(total_seconds(progress.seconds).values())
    assert spent <= time.monotonic() - started < 1.2 * spent + 1
