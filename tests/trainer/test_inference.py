"""A run folder as a function: the same logits to the last bit, however it is run."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.augment.config import IDENTITY, View
from trainer.errors import DataError, RunFolderError
from trainer.inference import TrainedRun
from trainer.metrics import evaluate_predictions

tf = pytest.importorskip("tensorflow")

NUM_DEVICES = 4
cpu = tf.config.list_physical_devices("CPU")[0]
if tf.config.get_logical_device_configuration(cpu) is None:
    # When the tests are collected: devices must exist before TensorFlow starts.
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * NUM_DEVICES
    )


def on(num_replicas: int) -> "tf.distribute.Strategy":
    if num_replicas == 1:
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    return tf.distribute.MirroredStrategy([f"/cpu:{index}" for index in range(num_replicas)])


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and left.tobytes() == right.tobytes()


def test_replicas_change_no_bit_of_a_logit(cars, write_run, fresh_weights) -> None:
    from trainer.engine.evaluation import EVALUATION_ROWS

    run_dir = write_run("run", fresh_weights(0))
    results = [TrainedRun(run_dir, on(number)).logits(str(cars), "train") for number in (1, 2)]
    alone = results[0]
    # Full and padded batches, and replicas that get nothing but padding.
    assert EVALUATION_ROWS < len(alone.ids) < 2 * 2 * EVALUATION_ROWS
    for result in results[1:]:
        assert result.ids == alone.ids
        assert (result.labels == alone.labels).all()
        assert same_bits(result.views, alone.views)


def test_batch_size_of_the_recipe_changes_no_bit(cars, write_run, fresh_weights) -> None:
    arrays = fresh_weights(0)
    small, large = (
        TrainedRun(write_run(f"run-{size}", arrays, batch_size=size), on(1)) for size in (1, 64)
    )
    assert same_bits(small.logits(str(cars), "val").views, large.logits(str(cars), "val").views)


def test_photo_alone_has_the_logits_it_has_among_others(
    cars, write_run, fresh_weights, monkeypatch
) -> None:
    from tfrecords_builder.manifest import load_manifest
    from trainer.input.canvases import Canvases, canvas_px_of

    run = TrainedRun(write_run("run", fresh_weights(0)), on(1))
    split = load_manifest(str(cars)).splits["val"]
    canvases = Canvases(str(cars), split, canvas_px_of(run.image_px), "none")
    together = run.logits_of(canvases)[0]

    class Last:
        """The last photo of the split, as if there were no other."""

        num_examples, dtype, row_shape = 1, canvases.dtype, canvases.row_shape

        def gather(self, indices, epochs=None):
            return canvases.gather(indices + split.num_examples - 1)

    assert same_bits(run.logits_of(Last())[0, 0], together[-1])


@pytest.mark.slow
def test_real_backbone_scores_alike_to_the_last_digit(cars, write_run, fresh_weights) -> None:
    run_dir = write_run("run", fresh_weights(0, "EfficientNetV2B0"), backbone="EfficientNetV2B0")
    documents = []
    for number in (1, 4):
        run = TrainedRun(run_dir, on(number))
        result = run.logits(str(cars), "train")
        scores = evaluate_predictions(
            np.exp(result.logits) / np.exp(result.logits).sum(axis=1, keepdims=True),
            result.labels,
            run.classes,
        )
        documents.append(json.dumps(scores.to_json()))
    assert documents[0] == documents[1]


def test_first_of_several_views_is_the_photo_as_it_is(cars, write_run, fresh_weights) -> None:
    run = TrainedRun(write_run("run", fresh_weights(0)), on(1))
    both = run.logits(str(cars), "val", (IDENTITY, View(mirror=True)))
    assert same_bits(both.logits, run.logits(str(cars), "val").logits)
    assert not np.allclose(both.views[0], both.views[1], atol=1e-3)


def test_weights_of_an_earlier_stage_run_at_its_size(cars, write_run, fresh_weights) -> None:
    run_dir = write_run("run", fresh_weights(0))
    run = TrainedRun(run_dir, on(1), "weights/00-first-epoch001.safetensors")
    assert run.image_px == 24
    assert run.logits(str(cars), "val").logits.shape == (30, 10)


def test_checkpoint_can_be_evaluated(cars, write_run, fresh_weights) -> None:
    from trainer.engine.tensor_files import write_tensors
    from trainer.progress import Progress

    arrays = fresh_weights(0)
    run_dir = write_run("run", arrays)
    (Path(run_dir) / "checkpoints").mkdir()
    name = "checkpoints/000000001-00-0000.safetensors"
    extra = {"adam_m/stem_conv/kernel": np.zeros(3, np.float32)}
    write_tensors(f"{run_dir}/{name}", arrays | extra, {"progress": Progress(stage=0).to_json()})
    assert TrainedRun(run_dir, on(1), name).image_px == 24


def test_folder_without_the_file_says_what_to_do(write_run, fresh_weights) -> None:
    run_dir = write_run("run", fresh_weights(0))
    with pytest.raises(RunFolderError, match=r"holds no weights/x\.safetensors; need one of its"):
        TrainedRun(run_dir, on(1), "weights/x.safetensors")
    (Path(run_dir) / "model.safetensors").unlink()
    with pytest.raises(RunFolderError, match=r"holds no model\.safetensors; need a finished run"):
        TrainedRun(run_dir, on(1))


def test_split_that_is_not_there_is_named(cars, write_run, fresh_weights) -> None:
    run = TrainedRun(write_run("run", fresh_weights(0)), on(1))
    with pytest.raises(DataError, match="has no split 'holdout'; it has"):
        run.logits(str(cars), "holdout")
