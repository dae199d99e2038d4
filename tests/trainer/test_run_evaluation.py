"""Scores of a run, and what is decided on validation only."""

import pytest

from tests.trainer.making import build_cars
from trainer.augment.config import IDENTITY, View
from trainer.errors import DataError
from trainer.inference import TrainedRun
from trainer.inference_settings import InferenceSettings, write_inference_settings
from trainer.metrics import evaluate_predictions
from trainer.metrics.choice import Candidate
from trainer.metrics.predictions import softmax
from trainer.run_evaluation import evaluate_run

tf = pytest.importorskip("tensorflow")


@pytest.fixture
def run(write_run, fresh_weights) -> TrainedRun:
    return TrainedRun(write_run("run", fresh_weights(0)), tf.distribute.OneDeviceStrategy("/cpu:0"))


def mirrored(run: TrainedRun) -> InferenceSettings:
    return InferenceSettings(
        weights_sha256=run.weights_sha256,
        views=(IDENTITY, View(mirror=True)),
        average=Candidate(name="mirror, probabilities", weights=(1.0, 1.0)),
        temperature=2.0,
    )


def test_validation_is_scored_as_it_is_and_fits_the_temperature(run, cars) -> None:
    scored = evaluate_run(run, str(cars), "val", "stored")
    result = run.logits(str(cars), "val")
    expected = evaluate_predictions(softmax(result.logits), result.labels, run.classes)
    assert scored.evaluation.confusion == expected.confusion
    assert scored.evaluation.log_loss == pytest.approx(expected.log_loss, rel=1e-12)
    assert scored.is_fitted
    assert scored.settings.views == (IDENTITY,)
    assert scored.settings.temperature != 1
    assert scored.calibrated.log_loss < scored.evaluation.log_loss
    assert scored.calibrated.top_1 == scored.evaluation.top_1


def test_other_splits_fit_nothing(run, cars) -> None:
    scored = evaluate_run(run, str(cars), "train", "stored")
    assert not scored.is_fitted
    assert scored.settings.temperature == 1
    assert scored.evaluation.num_examples == 78


def test_stored_views_are_followed_unless_told_otherwise(run, cars) -> None:
    write_inference_settings(run.run_dir, mirrored(run))
    stored = evaluate_run(run, str(cars), "train", "stored")
    plain = evaluate_run(run, str(cars), "train", "none")
    assert stored.settings == mirrored(run)
    assert plain.settings.views == (IDENTITY,)
    assert stored.evaluation.log_loss != plain.evaluation.log_loss


def test_measured_views_are_never_worse_than_none_on_validation(run, cars) -> None:
    scored = evaluate_run(run, str(cars), "val", "measure")
    assert scored.choice is not None
    none = scored.choice.measured[0]
    assert scored.evaluation.top_1 >= none.accuracy
    assert scored.evaluation.log_loss <= none.log_loss + 1e-12
    assert scored.is_fitted
    assert len(scored.choice.measured) == 9


def test_views_are_not_measured_on_other_data(run, cars, tmp_path) -> None:
    other = build_cars(tmp_path / "other")
    with pytest.raises(DataError, match=r"is not what .* was trained on"):
        evaluate_run(run, str(other), "val", "measure")
    assert not evaluate_run(run, str(other), "val", "stored").is_fitted


def test_photos_without_labels_are_refused_before_the_network_runs(run, cars, monkeypatch) -> None:
    monkeypatch.setattr(TrainedRun, "logits", None)
    with pytest.raises(DataError, match=r"'test' of .* has photos without labels"):
        evaluate_run(run, str(cars), "test", "stored")
