"""What several runs say together, and with which weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.errors import DataError
from trainer.inference_settings import InferenceSettings
from trainer.metrics.choice import Choice, choose_ensemble
from trainer.metrics.ensemble import combine
from trainer.prediction_request import EQUAL, PredictionRequest
from trainer.submission.predictions import Predictions, stack_predictions


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


def put_members_together(
    request: PredictionRequest, members: tuple[Member, ...], fits: bool
) -> EnsemblePrediction:
    """Averages runs that predict the same photos, and joins those of photos of their own.

    Args:
        request: of the prediction.
        members: in the order of the request.
        fits: weigh them by what they say of the validation photos.

    Raises:
        DataError: no photo could be used, or other classes.
    """
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
