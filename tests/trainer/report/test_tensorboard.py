import pytest
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.trainer.making import make_recipe, make_stage
from tests.trainer.report.observed import epoch_record, host_call
from trainer.plan import plan_stages
from trainer.progress import Progress, total_seconds
from trainer.report.run_text import recipe_text, settings_of
from trainer.report.tensorboard import TensorBoardRun

STAGES = (
    make_stage(name="head", epochs=2, batch_size=10, learning_rate=1e-3),
    make_stage(name="finish", epochs=2, batch_size=10),
)
RECIPE = make_recipe(*STAGES)
PLANS = plan_stages(RECIPE, num_examples=100, num_replicas=1)
RECORD = {
    "run_id": "tiny-1",
    "command": ["task.py", "--recipe=tiny"],
    "settings": {"recipe": RECIPE.to_json(), "seed": 3, "data_fingerprint": "abc"},
    "data": {"dir": "data", "classes": ["a", "b"], "splits": {"train": 100, "val": 10}},
    "devices": {"strategy": "1 CPU", "num_replicas": 1},
    "versions": {"python": "3.11"},
}
SECONDS = {"head": {"step": 3.0, "compile": 2.0}, "finish": {"step": 4.0}}


def shown(run_dir, name: str, tag: str) -> list[tuple[int, float]]:
    """The points as TensorBoard shows them: repeated steps are those of the newest start."""
    from tensorboard.util.tensor_util import make_ndarray

    # Not the accumulator of `events`: this is the one that TensorBoard uses.
    folder = str(run_dir / "tensorboard" / name)
    accumulator = plugin_event_accumulator.EventAccumulator(
        folder, size_guidance={"tensors": 0}
    ).Reload()
    return [
        (event.step, round(float(make_ndarray(event.tensor_proto)), 6))
        for event in accumulator.Tensors(tag)
    ]


def write(run_dir, last_step: int, first_step: int = 1, loss: float = 1.5) -> None:
    observer = TensorBoardRun(str(run_dir), RECORD, PLANS)
    for step in range(first_step, last_step + 1):
        progress = Progress(step=step, seconds=SECONDS)
        observer.on_steps(PLANS[0], progress, host_call())
        observer.on_epoch(PLANS[0], progress, epoch_record(step=step, val_loss=loss))


@pytest.fixture
def events(tmp_path):
    write(tmp_path, 3)

    def of(name: str) -> EventAccumulator:
        return EventAccumulator(
            str(tmp_path / "tensorboard" / name), size_guidance={"tensors": 0}
        ).Reload()

    return of


def values(accumulator, tag: str) -> dict[int, float]:
    from tensorboard.util.tensor_util import make_ndarray

    return {
        event.step: float(make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)
    }


def test_losses_stand_at_the_steps_of_their_epochs(events):
    assert values(events("validation"), "progress/loss") == {1: 1.5, 2: 1.5, 3: 1.5}


def test_the_learning_rate_is_the_one_that_was_used(events):
    assert values(events("train"), "progress/learning_rate")[3] == pytest.approx(1e-3)


def test_speed_and_waiting_come_from_the_call(events):
    train = events("train")
    assert values(train, "speed/images_per_second")[2] == pytest.approx(25.0)
    assert values(train, "speed/input_wait_share")[2] == pytest.approx(0.25)


def test_updates_that_were_left_out_stand_at_their_epochs(tmp_path):
    observer = TensorBoardRun(str(tmp_path), RECORD, PLANS)
    for step, num_skipped in ((10, 0), (20, 4)):
        record = epoch_record(step=step, num_skipped=num_skipped)
        observer.on_epoch(PLANS[0], Progress(step=step), record)
    train = EventAccumulator(str(tmp_path / "tensorboard" / "train")).Reload()
    assert values(train, "weights/skipped_updates") == {10: 0.0, 20: 4.0}


def test_the_ledger_is_summed_over_the_stages(events):
    assert values(events("train"), "time/step")[3] == pytest.approx(7.0)


def test_the_layout_names_only_tags_that_exist(events):
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata

    train = events("train")
    (event,) = train.Tensors(metadata.CONFIG_SUMMARY_TAG)
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    wanted = {
        tag for page in layout.category for chart in page.chart for tag in chart.multiline.tag
    }
    tags = set(train.Tags()["tensors"]) | {"weights/weight_norm"}
    assert {tag for tag in wanted if not tag.endswith(".*")} <= tags


def test_a_start_that_is_killed_at_once_leaves_layout_and_settings(tmp_path):
    TensorBoardRun(str(tmp_path), RECORD, PLANS)  # Nothing closes or flushes it.
    train, validation = (
        EventAccumulator(str(tmp_path / "tensorboard" / name)).Reload()
        for name in ("train", "validation")
    )
    assert "custom_scalars__config__" in train.Tags()["tensors"]
    assert validation.PluginTagToContent("hparams")


def test_steps_that_a_restart_repeats_are_shown_once(tmp_path):
    write(tmp_path, 3)
    write(tmp_path, 4, first_step=2, loss=0.5)
    assert shown(tmp_path, "validation", "progress/loss") == [
        (1, 1.5),
        (2, 0.5),
        (3, 0.5),
        (4, 0.5),
    ]


@pytest.mark.parametrize("back_to", [1, 3, 5])
def test_steps_that_are_gone_back_to_are_shown_once(tmp_path, back_to):
    observer = TensorBoardRun(str(tmp_path), RECORD, PLANS)
    for rate_factor, steps in ((1.0, range(1, 6)), (0.5, range(back_to, 8))):
        for step in steps:
            progress = Progress(step=step, rate_factor=rate_factor, seconds=SECONDS)
            observer.on_steps(PLANS[0], progress, host_call())
            if step % 2 == 0:
                observer.on_epoch(PLANS[0], progress, epoch_record(step=step, val_loss=rate_factor))
    observer.on_epoch(PLANS[0], progress, epoch_record(step=8, val_loss=0.25))  # Flushes.
    rates = [1e-3] * (back_to - 1) + [5e-4] * (8 - back_to)
    assert shown(tmp_path, "train", "progress/learning_rate") == list(enumerate(rates, start=1))
    losses = {step: 1.0 if step < back_to else 0.5 for step in (2, 4, 6)} | {8: 0.25}
    assert shown(tmp_path, "validation", "progress/loss") == list(losses.items())


def test_going_back_to_the_start_of_a_stage_keeps_the_stage_before(tmp_path):
    observer = TensorBoardRun(str(tmp_path), RECORD, PLANS)
    observer.on_steps(PLANS[0], Progress(step=20, seconds=SECONDS), host_call())
    observer.on_epoch(PLANS[0], Progress(seconds=SECONDS), epoch_record(step=20))
    carried = epoch_record(
        stage="finish", epoch=0, step=20, train_loss=None, train_accuracy=None, val_loss=1.25
    )
    for _ in range(2):
        observer.on_epoch(PLANS[1], Progress(seconds=SECONDS), carried)
        for step in (5, 10):
            progress = Progress(step=step, steps_before=20, seconds=SECONDS)
            observer.on_steps(PLANS[1], progress, host_call())
    observer.on_epoch(PLANS[1], Progress(seconds=SECONDS), epoch_record(step=30, val_loss=0.5))
    rates = shown(tmp_path, "train", "progress/learning_rate")
    assert [step for step, _ in rates] == [20, 25, 30]
    assert shown(tmp_path, "train", "progress/loss")[0] == (20, 1.25)
    losses = shown(tmp_path, "validation", "progress/loss")
    assert dict(losses) == {20: 1.25, 30: 0.5}
    assert losses[0] == (20, 1.5)


def test_an_evaluation_that_is_repeated_is_shown_once(tmp_path):
    observer = TensorBoardRun(str(tmp_path), RECORD, PLANS)
    for step in (1, 2, 3):
        progress = Progress(step=step, seconds=SECONDS)
        observer.on_steps(PLANS[0], progress, host_call())
        observer.on_epoch(PLANS[0], progress, epoch_record(step=step))
    # The checkpoint was written behind step 2 and before its evaluation.
    observer.on_epoch(PLANS[0], progress, epoch_record(step=2, val_loss=0.5))
    assert shown(tmp_path, "validation", "progress/loss") == [(1, 1.5), (2, 0.5)]


def test_settings_tell_runs_apart_by_stage():
    settings = settings_of(RECORD)
    assert settings["seed"] == 3
    assert settings["head.learning_rate"] == 1e-3


def test_the_recipe_is_shown_with_what_is_not_default():
    text = recipe_text(RECORD)
    assert "**stage head**" in text
    assert "|learning_rate|0.001|" in text
    assert "label_smoothing" not in text


def test_the_command_that_is_shown_can_be_typed() -> None:
    record = RECORD | {"command": ["/venv/trainer/task.py", "--data=my photos"]}
    assert "`python -m trainer.task '--data=my photos'`" in recipe_text(record)


def test_seconds_are_added_up():
    assert total_seconds(SECONDS) == {"step": 7.0, "compile": 2.0}
