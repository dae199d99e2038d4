"""Predictions of one run or of several, of a split of records or of a folder of photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrecords_builder.manifest import load_manifest
from trainer.errors import DataError
from trainer.inference import SplitLogits, TrainedRun
from trainer.inference_settings import InferenceSettings, load_inference_settings
from trainer.metrics.choice import Choice, choose_ensemble
from trainer.metrics.ensemble import combine
from trainer.submission.predictions import Predictions, stack_predictions

if TYPE_CHECKING:
    import tensorflow as tf

VALIDATION = "val"
FIT = "fit"
EQUAL = "equal"


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionRequest:
    """What is predicted, and by which runs.

    Raises:
        DataError: when built of parts that do not fit each other.
    """

    run_dirs: tuple[str, ...]
    data_dirs: tuple[str, ...] = ()
    """Built records: one folder for all runs, or one for each; may be empty with `images`."""
    split: str = "test"
    images: str | None = None
    """A folder of photos, predicted instead of a split."""
    weights: str | tuple[float, ...] = FIT
    """Of the runs: "fit" on validation, "equal", or numbers."""

    def __post_init__(self) -> None:
        num_runs = len(self.run_dirs)
        if not num_runs or len(set(self.run_dirs)) != num_runs:
            raise DataError(
                f"--run_dir was given {num_runs} times ({', '.join(self.run_dirs)}); need one or "
                "more different runs; name each once"
            )
        if len(self.data_dirs) not in (1, num_runs) and (self.data_dirs or not self.images):
            raise DataError(
                f"--data was given {len(self.data_dirs)} times for {num_runs} runs; need one "
                "folder for all, or one for each run in the same order; see --help"
            )
        if not isinstance(self.weights, str) and len(self.weights) != num_runs:
            raise DataError(
                f"{len(self.weights)} --ensemble_weights for {num_runs} runs; need one number a "
                "run, in the same order; or fit, or equal"
            )

    def data_dir_of(self, index: int) -> str | None:
        """The records that go with a run; None without records."""
        if not self.data_dirs:
            return None
        return self.data_dirs[index if len(self.data_dirs) > 1 else 0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One run of an ensemble: what it is, and what it says."""

    run_dir: str
    run_id: str
    weights_sha256: str
    data_fingerprint: str
    settings: InferenceSettings
    predictions: Predictions
    validation: Predictions | None
    """Of the same validation photos as the other runs; None where they are not needed."""
    unusable: dict[str, str]
    """Photos of a folder that could not be used, with the reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsemblePrediction:
    """The joint prediction and where it comes from."""

    predictions: Predictions
    members: tuple[Member, ...]
    weights: tuple[float, ...]
    """Of the members; sum 1. One for all where every run predicts photos of its own."""
    reason: str
    """How the weights came about, for the user."""
    choice: Choice | None
    """What validation said; None if it was not asked."""
    unusable: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Where the predictions come from."""
        return {
            "runs": [
                {
                    "run_dir": member.run_dir,
                    "run_id": member.run_id,
                    "weights_sha256": member.weights_sha256,
                    "average": member.settings.average.name,
                    "temperature": member.settings.temperature,
                    "weight": weight,
                }
                for member, weight in zip(self.members, self.weights, strict=True)
            ],
            "weights": self.reason,
            "choice": None if self.choice is None else self.choice.to_json(),
            "num_predictions": len(self.predictions.ids),
            "unusable": self.unusable,
        }


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
    return _combined(request, members, fits)


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


def _combined(
    request: PredictionRequest, members: tuple[Member, ...], fits: bool
) -> EnsemblePrediction:
    all_predictions = [member.predictions for member in members]
    first = all_predictions[0]
    unusable = members[0].unusable
    if not first.ids:
        raise DataError(
            f"none of the {len(unusable)} files in {request.images} can be used (first: "
            f"{next(iter(unusable.items()))}); need photos; name another folder"
        )
    if len(members) > 1 and are_disjoint(all_predictions):
        return EnsemblePrediction(
            predictions=put_together(all_predictions),
            members=members,
            weights=(1.0,) * len(members),
            reason="each run predicts photos of its own",
            choice=None,
            unusable={},
        )
    weights, reason, choice = _weigh(request, members, fits)
    return EnsemblePrediction(
        predictions=Predictions(
            ids=first.ids,
            class_names=first.class_names,
            probabilities=combine(stack_predictions(all_predictions), weights),
            labels=first.labels,
        ),
        members=members,
        weights=weights,
        reason=reason,
        choice=choice,
        unusable=unusable,
    )


def _weigh(
    request: PredictionRequest, members: tuple[Member, ...], fits: bool
) -> tuple[tuple[float, ...], str, Choice | None]:
    equal = (1 / len(members),) * len(members)
    if not isinstance(request.weights, str):
        total = sum(request.weights)
        return tuple(weight / total if total else 0 for weight in request.weights), "given", None
    if len(members) == 1:
        return equal, "one run", None
    validations = [member.validation for member in members if member.validation is not None]
    if fits:
        choice = choose_ensemble(
            stack_predictions(validations),
            validations[0].labels,
            [member.run_id for member in members],
        )
        chosen = choice.chosen
        name = "the best run alone" if chosen.name == "none" else chosen.name
        reason = f"{name}, chosen on {choice.num_examples} validation photos"
        return tuple(weight / sum(chosen.weights) for weight in chosen.weights), reason, choice
    if request.weights == EQUAL:
        return equal, "equal, as asked", None
    return equal, "equal: no validation photos that all runs were trained without", None


def are_disjoint(predictions: Sequence[Predictions]) -> bool:
    """Whether no photo is predicted twice."""
    num_ids = sum(len(each.ids) for each in predictions)
    return len({name for each in predictions for name in each.ids}) == num_ids


def put_together(predictions: Sequence[Predictions]) -> Predictions:
    """One after the other: photos of different folds.

    Raises:
        DataError: other classes.
    """
    first = predictions[0]
    if any(each.class_names != first.class_names for each in predictions):
        raise DataError(
            "the runs have different classes; need folds of one data set; leave one out"
        )
    return Predictions(
        ids=tuple(name for each in predictions for name in each.ids),
        class_names=first.class_names,
        probabilities=np.concatenate([each.probabilities for each in predictions]),
        labels=np.concatenate([each.labels for each in predictions]),
    )
