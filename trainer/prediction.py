"""Predictions of one run or of several, of a split of records or of a folder of photos."""

from typing import TYPE_CHECKING

import numpy as np

from tfrecords_builder.manifest import load_manifest
from trainer.ensemble_prediction import EnsemblePrediction, Member, put_members_together
from trainer.inference import SplitLogits, TrainedRun
from trainer.inference_settings import InferenceSettings, load_inference_settings
from trainer.prediction_request import FIT, VALIDATION, PredictionRequest
from trainer.submission.predictions import Predictions

if TYPE_CHECKING:
    import tensorflow as tf


def predict(request: PredictionRequest, strategy: "tf.distribute.Strategy") -> EnsemblePrediction:
    """Predicts with every run as its `inference.json` says, one after the other, and averages.

    Runs that were trained on one data set are weighted by its validation split, and left out if
    they do not pay there. Folds of a cross validation have no photo that all of them have not seen:
    they are averaged equally. Runs with records of their own whose photos differ are put together:
    on their validation splits that gives the out-of-fold predictions.

    Raises:
        DataError, RunFolderError: runs, records or photos that do not fit each other.
    """
    fingerprints = [_fingerprints(request, index) for index in range(len(request.run_dirs))]
    is_shared = len({each for pair in fingerprints for each in pair}) == 1
    fits = len(request.run_dirs) > 1 and request.weights == FIT and is_shared
    members = tuple(
        _predict_member(request, index, strategy, fits) for index in range(len(request.run_dirs))
    )
    return put_members_together(request, members, fits)


def _fingerprints(request: PredictionRequest, index: int) -> tuple[str | None, str | None]:
    """Of the data that a run was trained on, and of the records given with it."""
    from trainer.run_record import load_run_record

    record = load_run_record(request.run_dirs[index])
    data_dir = request.data_dir_of(index)
    given = load_manifest(data_dir).fingerprint if data_dir is not None else None
    return record["settings"]["data_fingerprint"], given


def _predict_member(
    request: PredictionRequest, index: int, strategy: "tf.distribute.Strategy", fits: bool
) -> Member:
    import tensorflow as tf

    from trainer.input.canvases import canvas_px_of
    from trainer.photo_folder import PhotoFolder

    tf.keras.backend.clear_session()
    run = TrainedRun(request.run_dirs[index], strategy)
    stored = load_inference_settings(run.run_dir, run.weights_sha256)
    settings = stored or InferenceSettings(weights_sha256=run.weights_sha256)
    data_dir = request.data_dir_of(index)

    def logits_of_split(name: str) -> SplitLogits:
        assert data_dir is not None, "checked when the request was made"
        return run.logits(data_dir, name, settings.views)

    validation: Predictions | None = None
    if fits:
        seen = logits_of_split(VALIDATION)
        if stored is None:
            # Sharp and blunt runs are not averaged as they are.
            settings = settings.refitted(seen.views, seen.labels)
        validation = _predictions_of(run, settings, seen)
    unusable: dict[str, str] = {}
    if request.images is not None:
        photos = PhotoFolder(request.images, canvas_px_of(run.image_px))
        probabilities = settings.predict(run.logits_of(photos, settings.views))
        photos.close()
        unusable = {photos.ids[row]: reason for row, reason in photos.unusable.items()}
        usable = [row for row, name in enumerate(photos.ids) if name not in unusable]
        predictions = Predictions(
            ids=tuple(photos.ids[row] for row in usable),
            class_names=run.classes,
            probabilities=probabilities[usable],
            labels=np.full(len(usable), -1, np.int64),
        )
    elif request.split == VALIDATION and validation is not None:
        predictions = validation
    else:
        predictions = _predictions_of(run, settings, logits_of_split(request.split))
    return Member(
        run_dir=run.run_dir,
        run_id=run.record["run_id"],
        weights_sha256=run.weights_sha256,
        data_fingerprint=run.data_fingerprint,
        settings=settings,
        predictions=predictions,
        validation=validation,
        unusable=unusable,
    )


def _predictions_of(
    run: TrainedRun, settings: InferenceSettings, result: SplitLogits
) -> Predictions:
    return Predictions(
        ids=result.ids,
        class_names=run.classes,
        probabilities=settings.predict(result.views),
        labels=result.labels.astype(np.int64),
    )
