"""One run or several, on records or on photos: who is averaged how."""

import numpy as np
import pytest
from PIL import Image

from tests.trainer.folds import build_folds
from tests.trainer.making import build_cars
from trainer.augment.config import IDENTITY, View
from trainer.ensemble_prediction import are_disjoint, put_together
from trainer.errors import DataError
from trainer.inference import TrainedRun
from trainer.inference_settings import InferenceSettings, write_inference_settings
from trainer.metrics.choice import Candidate
from trainer.prediction import predict
from trainer.prediction_request import PredictionRequest
from trainer.submission.predictions import Predictions

tf = pytest.importorskip("tensorflow")


@pytest.fixture
def strategy():
    return tf.distribute.OneDeviceStrategy("/cpu:0")


def accuracy(predictions: Predictions) -> float:
    return float((predictions.probabilities.argmax(axis=1) == predictions.labels).mean())


def test_fitted_ensemble_is_never_worse_than_its_best_run(
    cars, write_run, fresh_weights, strategy
) -> None:
    runs = tuple(write_run(f"run-{seed}", fresh_weights(seed)) for seed in (0, 1))
    request = PredictionRequest(run_dirs=runs, data_dirs=(str(cars),), split="val")
    result = predict(request, strategy)
    assert result.choice is not None
    assert accuracy(result.predictions) >= max(
        accuracy(member.predictions) for member in result.members
    )
    assert sum(result.weights) == pytest.approx(1)
    assert "30 validation photos" in result.reason


def test_given_weights_are_obeyed(cars, write_run, fresh_weights, strategy) -> None:
    runs = tuple(write_run(f"run-{seed}", fresh_weights(seed)) for seed in (0, 1))
    request = PredictionRequest(run_dirs=runs, data_dirs=(str(cars),), weights=(3, 1))
    result = predict(request, strategy)
    first, second = (member.predictions.probabilities for member in result.members)
    np.testing.assert_allclose(
        result.predictions.probabilities, 0.75 * first + 0.25 * second, rtol=1e-12
    )
    assert result.weights == (0.75, 0.25)
    assert result.predictions.ids[0] == "car-000108.jpg"


def test_stored_views_and_temperature_are_followed(
    cars, write_run, fresh_weights, strategy
) -> None:
    run_dir = write_run("run", fresh_weights(0))
    run = TrainedRun(run_dir, strategy)
    stored = InferenceSettings(
        weights_sha256=run.weights_sha256,
        views=(IDENTITY, View(mirror=True)),
        average=Candidate(name="mirror, probabilities", weights=(1.0, 1.0)),
        temperature=3.0,
    )
    write_inference_settings(run_dir, stored)
    request = PredictionRequest(run_dirs=(run_dir,), data_dirs=(str(cars),))
    expected = stored.predict(run.logits(str(cars), "test", stored.views).views)
    np.testing.assert_allclose(
        predict(request, strategy).predictions.probabilities, expected, rtol=1e-12
    )


def test_folds_are_averaged_equally_and_put_together_out_of_fold(
    tmp_path, write_run, fresh_weights, strategy
) -> None:
    folds = build_folds(tmp_path / "folds", num_folds=2)
    runs = tuple(
        write_run(f"fold-{index}", fresh_weights(index, data=fold), data=fold)
        for index, fold in enumerate(folds)
    )
    data_dirs = tuple(str(fold) for fold in folds)
    on_test = predict(PredictionRequest(run_dirs=runs, data_dirs=data_dirs), strategy)
    assert on_test.weights == (0.5, 0.5)
    assert on_test.choice is None
    assert "no validation photos that all runs were trained without" in on_test.reason

    out_of_fold = predict(
        PredictionRequest(run_dirs=runs, data_dirs=data_dirs, split="val"), strategy
    )
    ids = out_of_fold.predictions.ids
    assert len(ids) == len(set(ids)) == sum(len(m.predictions.ids) for m in out_of_fold.members)
    assert (out_of_fold.predictions.labels >= 0).all()
    assert out_of_fold.reason == "each run predicts photos of its own"


def test_photos_of_a_folder_are_predicted_and_bad_ones_told(
    tmp_path, write_run, fresh_weights, strategy
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("b.png", "a.jpg"):
        Image.new("RGB", (40, 30), "red").save(photos / name)
    (photos / "c.jpg").write_bytes(b"no photo")
    run_dir = write_run("run", fresh_weights(0))
    result = predict(PredictionRequest(run_dirs=(run_dir,), images=str(photos)), strategy)
    assert result.predictions.ids == ("a.jpg", "b.png")
    assert list(result.unusable) == ["c.jpg"]
    assert result.to_json()["unusable"] == result.unusable


def test_folder_without_a_usable_photo_is_an_error(
    tmp_path, write_run, fresh_weights, strategy
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "c.jpg").write_bytes(b"no photo")
    request = PredictionRequest(run_dirs=(write_run("run", fresh_weights(0)),), images=str(photos))
    with pytest.raises(DataError, match="none of the 1 files"):
        predict(request, strategy)


def test_data_other_than_the_runs_fit_no_weights(
    tmp_path, write_run, fresh_weights, strategy
) -> None:
    other = build_cars(tmp_path / "other")
    runs = tuple(write_run(f"run-{seed}", fresh_weights(seed)) for seed in (0, 1))
    result = predict(PredictionRequest(run_dirs=runs, data_dirs=(str(other),)), strategy)
    assert result.weights == (0.5, 0.5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"run_dirs": ()}, "given 0 times"),
        ({"run_dirs": ("a", "a"), "data_dirs": ("d",)}, "need one or more different runs"),
        ({"run_dirs": ("a",)}, "--data was given 0 times"),
        ({"run_dirs": ("a", "b", "c"), "data_dirs": ("d", "e")}, "2 times for 3 runs"),
        ({"run_dirs": ("a", "b"), "data_dirs": ("d",), "weights": (1.0,)}, "1 --ensemble_weights"),
    ],
)
def test_parts_that_do_not_fit_are_refused(fields, message: str) -> None:
    with pytest.raises(DataError, match=message):
        PredictionRequest(**fields)


def some_predictions(*ids: str, classes: tuple[str, ...] = ("x", "y")) -> Predictions:
    return Predictions(
        ids=ids,
        class_names=classes,
        probabilities=np.full((len(ids), 2), 0.5),
        labels=np.zeros(len(ids), np.int64),
    )


def test_disjoint_means_no_photo_twice() -> None:
    assert are_disjoint([some_predictions("a", "b"), some_predictions("c")])
    assert not are_disjoint([some_predictions("a", "b"), some_predictions("b", "c")])


def test_folds_of_other_classes_are_not_put_together() -> None:
    with pytest.raises(DataError, match="different classes"):
        put_together([some_predictions("a"), some_predictions("b", classes=("x", "z"))])
