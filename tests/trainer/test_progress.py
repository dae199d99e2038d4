"""Progress: best, plateau, early stopping and the way through JSON."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.making import make_recipe, make_stage
from trainer.progress import (
    EpochRecord,
    Progress,
    after_epoch,
    in_batches_of,
    is_better,
    next_stage,
    stage_is_over,
    with_seconds,
)
from trainer.recipe import Stage


def walk(stage: Stage, losses: list[float]) -> list[Progress]:
    """The progress after each epoch of a stage with these validation losses."""
    recipe = make_recipe(stage, monitor="val_loss")
    progress, seen = Progress(), []
    for epoch, loss in enumerate(losses, start=1):
        record = EpochRecord(
            stage=stage.name,
            epoch=epoch,
            step=epoch,
            learning_rate=0.1,
            train_loss=1.0,
            train_accuracy=0.5,
            val_loss=loss,
            val_accuracy=0.5,
            is_best=is_better("val_loss", loss, progress.best_value),
            seconds=1.0,
        )
        progress = after_epoch(progress, recipe, stage, record, f"epoch{epoch}")
        seen.append(progress)
    return seen


def test_the_best_epoch_is_kept() -> None:
    seen = walk(make_stage(epochs=9), [3.0, 2.0, 2.5, 1.5, 1.6])
    assert [progress.best_file for progress in seen] == [
        "epoch1",
        "epoch2",
        "epoch2",
        "epoch4",
        "epoch4",
    ]
    assert seen[-1].best_value == 1.5


def test_plateau_lowers_the_rate_each_time_patience_runs_out() -> None:
    stage = make_stage(epochs=9, plateau_patience=2, plateau_factor=0.5)
    seen = walk(stage, [1.0, 1.1, 1.2, 1.3, 1.4, 0.9, 1.0])
    assert [progress.rate_factor for progress in seen] == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_early_stopping_ends_the_stage() -> None:
    stage = make_stage(epochs=9, early_stopping_patience=2)
    assert [
        stage_is_over(progress, stage) for progress in walk(stage, [1.0, 1.1, 0.9, 1.0, 1.1])
    ] == [
        False,
        False,
        False,
        False,
        True,
    ]


def test_a_stage_ends_after_its_epochs() -> None:
    stage = make_stage(epochs=2)
    assert [stage_is_over(progress, stage) for progress in walk(stage, [1.0, 1.1])] == [False, True]


@pytest.mark.parametrize(
    ("monitor", "value", "best", "expected"),
    [
        ("val_loss", 1.0, None, True),
        ("val_loss", 1.0, 1.0, False),
        ("val_loss", 0.9, 1.0, True),
        ("val_accuracy", 0.9, 1.0, False),
        ("val_accuracy", 1.0, 0.9, True),
        ("val_loss", float("nan"), None, False),
        ("val_accuracy", float("nan"), 0.1, False),
    ],
)
def test_is_better(monitor: str, value: float, best: float | None, expected: bool) -> None:
    assert is_better(monitor, value, best) is expected


def test_the_next_stage_starts_fresh_with_the_best_weights() -> None:
    progress = dataclasses.replace(
        walk(make_stage(epochs=3), [2.0, 1.0, 1.5])[-1], step=30, steps_before=12
    )
    following = next_stage(progress)
    assert (following.stage, following.step, following.steps_before) == (1, 0, 42)
    assert (following.carried_file, following.best_value, following.rate_factor) == (
        "epoch2",
        None,
        1.0,
    )
    assert following.history == progress.history


@given(
    step=st.integers(0, 10**4),
    before=st.integers(1, 300),
    now=st.integers(1, 300),
    steps_before=st.integers(0, 10**4),
)
def test_batches_of_another_size_leave_no_example_out(
    step: int, before: int, now: int, steps_before: int
) -> None:
    progress = Progress(step=step, steps_before=steps_before, global_batch=before)
    changed = in_batches_of(progress, now)
    seen_again = step * before - changed.step * now
    assert 0 <= seen_again < now
    assert changed.steps_before + changed.step == steps_before + step
    assert in_batches_of(progress, before) == progress


def test_a_stage_that_begins_takes_its_batch_as_it_is() -> None:
    assert in_batches_of(Progress(step=0), 32) == Progress(step=0, global_batch=32)


@given(losses=st.lists(st.floats(0, 10), max_size=6), step=st.integers(0, 10**6))
def test_progress_survives_json(losses: list[float], step: int) -> None:
    progress = walk(make_stage(epochs=99, plateau_patience=1), losses)[-1] if losses else Progress()
    progress = with_seconds(dataclasses.replace(progress, step=step), "finish", {"step": 1.5})
    assert Progress.from_json(progress.to_json()) == progress


def test_the_ledger_adds_up_over_starts() -> None:
    progress = with_seconds(
        with_seconds(Progress(), "head", {"step": 1.0}), "head", {"step": 2.0, "compile": 5.0}
    )
    assert progress.seconds == {"head": {"step": 3.0, "compile": 5.0}}
