"""Averages of runs, as a run of its own."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.making import build_cars, make_recipe, make_stage
from tfrecords_builder.manifest import Manifest, load_manifest
from trainer.augment.config import Augmentation
from trainer.errors import DataError, RunFolderError
from trainer.run_record import RunSettings, make_run_record, write_run_record

tf = pytest.importorskip("tensorflow")

RECIPE = make_recipe(make_stage(image_px=32, batch_size=8))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return build_cars(tmp_path_factory.mktemp("soup") / "data")


@pytest.fixture(scope="module")
def manifest(data_dir: Path) -> Manifest:
    return load_manifest(str(data_dir))


@pytest.fixture(scope="module")
def start(manifest: Manifest) -> dict[str, np.ndarray]:
    """A network as it starts, and with it everything that its runs have in common."""
    import keras

    from trainer.network.build import build_network

    keras.utils.set_random_seed(0)
    network = build_network(RECIPE, len(manifest.classes), 32)
    return {name: variable.value.numpy() for name, variable in network.variables().items()}


@pytest.fixture
def write_run(tmp_path: Path, manifest: Manifest, data_dir: Path):
    from trainer.engine.tensor_files import write_tensors

    def write(name: str, arrays, image_px: int = 32, **augmentation) -> str:
        folder = tmp_path / name
        folder.mkdir()
        stage = dataclasses.replace(RECIPE.stages[0], augmentation=Augmentation(**augmentation))
        settings = RunSettings(
            recipe=dataclasses.replace(RECIPE, stages=(stage,)),
            seed=0,
            batch_scaling="none",
            data_fingerprint=manifest.fingerprint,
        )
        write_run_record(str(folder), make_run_record(settings, manifest, str(data_dir), "one", 1))
        metadata = {
            "classes": json.dumps(manifest.classes),
            "backbone": "Tiny",
            "image_px": str(image_px),
        }
        write_tensors(str(folder / "model.safetensors"), arrays, metadata)
        return str(folder)

    return write


def one_device() -> "tf.distribute.Strategy":
    return tf.distribute.OneDeviceStrategy("/cpu:0")


def apart(arrays, amount: float) -> dict[str, np.ndarray]:
    """The same run, but with a last layer that is off to one side."""
    rng = np.random.default_rng(5)
    kernel = arrays["head_logits/kernel"]
    off = (amount * rng.normal(size=kernel.shape)).astype(np.float32)
    return arrays | {"head_logits/kernel": kernel + off}


def test_average_of_runs_on_both_sides_is_a_run_that_can_be_used(
    tmp_path, write_run, start, data_dir, manifest
) -> None:
    from trainer.inference import TrainedRun
    from trainer.soup import average_runs

    runs = [write_run("left", apart(start, -2)), write_run("right", apart(start, 2))]
    soup = average_runs(runs, str(data_dir), str(tmp_path / "out"), one_device())
    assert set(soup.members) == set(runs)
    assert soup.score > max(soup.single_scores.values())
    result = TrainedRun(str(tmp_path / "out"), one_device()).logits(str(data_dir), "val")
    assert result.logits.shape == (manifest.splits["val"].num_examples, len(manifest.classes))
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert set(record["soup"]["members"]) == set(runs)
    assert record["soup"]["score"] == soup.score


@pytest.fixture
def cooked(tmp_path, write_run, start, data_dir) -> Path:
    """A soup of two runs that were trained for long and handed in."""
    from trainer.soup import average_runs

    runs = [write_run("left", apart(start, -2)), write_run("right", apart(start, 2))]
    epoch = {"stage": "finish", "epoch": 1, "is_best": True, "val_accuracy": 0.125}
    for run in runs:
        path = Path(run) / "run.json"
        trained = {
            "command": ["task.py", "--recipe=test"],
            "history": [epoch],
            "seconds": {"finish": {"step": 5000.0}},
            "seconds_total": {"step": 5000.0},
            "num_starts": 3,
            "stages": [{"name": "finish"}],
            "weights": {"source": "w.h5", "sha256": "1"},
            "submissions": [{"competition": "cars", "status": "complete", "ref": 1}],
        }
        path.write_text(json.dumps(json.loads(path.read_text()) | trained))
    average_runs(runs, str(data_dir), str(tmp_path / "out"), one_device())
    return tmp_path / "out"


def test_its_record_says_nothing_that_is_true_of_a_member_alone(cooked: Path, data_dir) -> None:
    import sys

    from trainer.inference import TrainedRun
    from trainer.run_evaluation import evaluate_run

    record = json.loads((cooked / "run.json").read_text())
    assert record["command"][1:] == sys.argv[1:]
    assert (record["num_starts"], record["finished"]) == (1, True)
    assert record["history"] == []
    assert not record.keys() & {"submissions", "stages", "weights"}
    assert set(record["seconds"]) == {"soup"}
    assert 0 < record["seconds_total"]["averaging"] < 5000
    scored = evaluate_run(TrainedRun(str(cooked), one_device()), str(data_dir), "val", "none")
    assert record["soup"]["val_accuracy"] == pytest.approx(scored.evaluation.top_1)
    assert record["soup"]["val_loss"] == pytest.approx(scored.evaluation.log_loss, abs=1e-5)


def test_table_and_submission_give_its_own_accuracy(cooked: Path) -> None:
    from trainer.runs import list_text
    from trainer.stored_runs import load_one
    from trainer.submission.run_record import load_run

    accuracy = json.loads((cooked / "run.json").read_text())["soup"]["val_accuracy"]
    assert load_one(str(cooked)).accuracy == accuracy
    assert load_run(cooked).val_accuracy == accuracy
    row = list_text([load_one(str(cooked))], str(cooked)).splitlines()[1]
    assert f"{accuracy:.4f}" in row
    assert row.endswith("soup of 2 runs")


def test_no_training_begins_in_its_folder(cooked: Path, manifest, data_dir) -> None:
    from trainer.run_folder import open_run

    settings = RunSettings(
        recipe=RECIPE, seed=1, batch_scaling="none", data_fingerprint=manifest.fingerprint
    )
    fresh = make_run_record(settings, manifest, str(data_dir), "one", 1)
    with pytest.raises(RunFolderError, match="other settings"):
        open_run(str(cooked), settings, fresh, allow_changes=False)


def test_run_that_does_not_help_stays_out(tmp_path, write_run, start, data_dir) -> None:
    from trainer.engine.tensor_files import read_tensors
    from trainer.soup import average_runs

    runs = [write_run("good", start), write_run("bad", apart(start, 50))]
    soup = average_runs(runs, str(data_dir), str(tmp_path / "out"), one_device())
    assert soup.members == (runs[0],)
    arrays, _ = read_tensors(str(tmp_path / "out" / "model.safetensors"))
    assert all(np.array_equal(arrays[name], start[name]) for name in start)


def test_runs_at_other_sizes_are_refused(tmp_path, write_run, start, data_dir) -> None:
    from trainer.soup import average_runs

    runs = [write_run("small", start), write_run("large", start, image_px=64)]
    with pytest.raises(RunFolderError, match=r"image_px=64, .* has 32; need runs of one network"):
        average_runs(runs, str(data_dir), str(tmp_path / "out"), one_device())


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        ({"resize": "pad"}, "resize=pad, .* has squash"),
        ({"clahe": "always"}, r"clahe=\(2.0, 8\), .* has by chance"),
    ],
)
def test_runs_that_look_at_photos_in_other_ways_are_refused(
    augmentation, message, tmp_path, write_run, start, data_dir
) -> None:
    from trainer.soup import average_runs

    runs = [write_run("plain", start, mirror=0.5, clahe=0.5)]
    runs.append(write_run("other", start, **augmentation))
    with pytest.raises(RunFolderError, match=message):
        average_runs(runs, str(data_dir), str(tmp_path / "out"), one_device())


def test_one_run_is_no_soup(tmp_path, write_run, start, data_dir) -> None:
    from trainer.soup import average_runs

    run = write_run("only", start)
    with pytest.raises(RunFolderError, match="need two or more different runs"):
        average_runs([run, run], str(data_dir), str(tmp_path / "out"), one_device())


def test_folder_in_use_is_left_alone(tmp_path, write_run, start, data_dir) -> None:
    from trainer.soup import average_runs

    runs = [write_run("a", start), write_run("b", start)]
    with pytest.raises(RunFolderError, match="is not empty"):
        average_runs(runs, str(data_dir), runs[0], one_device())


def test_other_classes_are_refused(tmp_path, write_run, start, data_dir, monkeypatch) -> None:
    from tfrecords_builder import manifest as manifests
    from trainer.soup import average_runs

    runs = [write_run("a", start), write_run("b", apart(start, 1))]
    real = load_manifest(str(data_dir))
    other = dataclasses.replace(real, classes=tuple(reversed(real.classes)))
    monkeypatch.setattr(manifests, "load_manifest", lambda data_dir: other)
    with pytest.raises(DataError, match="other classes than the runs"):
        average_runs(runs, str(data_dir), str(tmp_path / "out"), one_device())
