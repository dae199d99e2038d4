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
    folder = tmp_path / "tensorboard" / "validation"
    # Not the accumulator of above: this is the one that TensorBoard shows.
    accumulator = plugin_event_accumulator.EventAccumulator(str(folder)).Reload()
    assert [event.step for event in accumulator.Tensors("progress/loss")] == [1, 2, 3, 4]
    assert values(accumulator, "progress/loss") == {1: 1.5, 2: 0.5, 3: 0.5, 4: 0.5}


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
