"""Scores a run on a split, and decides on validation how it predicts from then on."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tfrecords_builder.manifest import Manifest, load_manifest
from trainer.augment.config import IDENTITY
from trainer.errors import DataError
from trainer.inference import SplitLogits, TrainedRun
from trainer.inference_settings import (
    ALL_VIEWS,
    InferenceSettings,
    load_inference_settings,
    measure_views,
)
from trainer.metrics import Evaluation, evaluate_predictions
from trainer.metrics.choice import Choice

VALIDATION = "val"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEvaluation:
    """What was found, and by what rule the predictions were made."""

    evaluation: Evaluation
    """Of the views' average, not calibrated."""
    calibrated: Evaluation
    """The same at the temperature of `settings`: other confidences, the same classes."""
    settings: InferenceSettings
    choice: Choice | None
    """What was measured of the views; None if that was not asked."""
    is_fitted: bool
    """Whether `settings` were decided just now and are to be stored."""
    predictions: SplitLogits
    """Of the views that were used, in the order of the records."""
    data_fingerprint: str
    """Of the records that the photos come from."""

    def to_json(self) -> dict[str, Any]:
        """`Evaluation.to_json`, and what the calibration changes."""
        return {
            "data_fingerprint": self.data_fingerprint,
            **self.evaluation.to_json(),
            "views": [asdict(view) for view in self.settings.views],
            "average": self.settings.average.name,
            "temperature": self.settings.temperature,
            "calibrated": {
                "log_loss": self.calibrated.log_loss,
                "ece": self.calibrated.ece,
                "reliability": [asdict(part) for part in self.calibrated.reliability],
            },
        }


def evaluate_run(run: TrainedRun, data_dir: str, split_name: str, tta: str) -> RunEvaluation:
    """Predicts a split and compares with its labels.

    On validation of the run's own data the temperature is fitted, and with `tta` "measure" the
    views are chosen there, whatever split is scored. "stored" follows what the run folder says of
    these weights (the photo as it is, where it says nothing); "none" is the photo as it is.

    Raises:
        DataError: the split is not there or has no labels, or "measure" on other data than the
            run's.
    """
    manifest = load_manifest(data_dir)
    _check_labelled(manifest, data_dir, split_name)
    is_own = manifest.fingerprint == run.data_fingerprint
    choice: Choice | None = None
    validation: SplitLogits | None = None
    if tta == "measure":
        if not is_own:
            raise DataError(
                f"{data_dir!r} is not what {run.run_dir!r} was trained on; views can only be "
                "measured on photos that the run has not seen; give the run's own data, or "
                "--tta=none"
            )
        _check_labelled(manifest, data_dir, VALIDATION)
        seen = run.logits(data_dir, VALIDATION, ALL_VIEWS)
        settings, choice = measure_views(run.weights_sha256, seen.views, seen.labels)
        kept = [ALL_VIEWS.index(view) for view in settings.views]
        validation = SplitLogits(ids=seen.ids, labels=seen.labels, views=seen.views[kept])
    else:
        settings = InferenceSettings(weights_sha256=run.weights_sha256, views=(IDENTITY,))
        if tta == "stored":
            settings = load_inference_settings(run.run_dir, run.weights_sha256) or settings
    if split_name == VALIDATION and validation is not None:
        result = validation
    else:
        result = run.logits(data_dir, split_name, settings.views)
    is_fitted = is_own and (tta == "measure" or split_name == VALIDATION)
    if is_fitted and tta != "measure":
        settings = settings.refitted(result.views, result.labels)
    probabilities = settings.average_views(result.views)
    labels = np.asarray(result.labels)
    return RunEvaluation(
        evaluation=evaluate_predictions(probabilities, labels, run.classes),
        calibrated=evaluate_predictions(settings.calibrate(probabilities), labels, run.classes),
        settings=settings,
        choice=choice,
        is_fitted=is_fitted,
        predictions=result,
        data_fingerprint=manifest.fingerprint,
    )


def _check_labelled(manifest: Manifest, data_dir: str, split_name: str) -> None:
    split = manifest.splits.get(split_name)
    if split is not None and split.num_examples and not split.labelled:
        raise DataError(
            f"split {split_name!r} of {data_dir!r} has photos without labels; need labels to "
            "score; predict it with trainer.predict"
        )
