"""What validation has decided about how a run predicts: which views, and which temperature.

It stands in `inference.json` of the run folder. Prediction and export follow it. It belongs to
weights, not to a folder: for other weights it does not count.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainer.augment.config import IDENTITY, VIEWS, View
from trainer.errors import RunFolderError
from trainer.metrics.calibration import apply_temperature, fit_temperature
from trainer.metrics.choice import Candidate, Choice, choose_views
from trainer.metrics.predictions import softmax
from trainer.whole_files import write_whole

FILE_NAME = "inference.json"
SCHEMA_VERSION = 1
ALL_VIEWS: tuple[View, ...] = tuple(dict.fromkeys([IDENTITY, *sum(VIEWS.values(), ())]))
"""Every view of every named list once, the photo as it is first."""
_ALONE = Candidate(name="none", weights=(1.0,))
LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)
"""What is smaller counts as this much before its logarithm is taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InferenceSettings:
    """How logits of views become probabilities. The default: one view, as the network says."""

    weights_sha256: str
    """Of the file of weights that this was decided for."""
    views: tuple[View, ...] = (IDENTITY,)
    average: Candidate = _ALONE
    """Of the views, in their order."""
    temperature: float = 1.0
    """Divides the logarithms of the averaged probabilities; > 0."""
    num_examples: int = 0
    """Validation photos that decided; 0 if nothing was measured."""
    measured: Mapping[str, Any] | None = None
    """Everything that `choose_views` measured; None if it was not asked."""

    def __post_init__(self) -> None:
        if len(self.views) != len(self.average.weights):
            raise ValueError(
                f"{len(self.views)} views but {len(self.average.weights)} weights; need one a "
                "view; measure again"
            )

    def average_views(self, logits: np.ndarray) -> NDArray[np.float64]:
        """Logits [V, N, K] of the views to probabilities [N, K], not calibrated."""
        return self.average.apply(softmax(logits))

    def calibrate(self, probabilities: np.ndarray) -> NDArray[np.float64]:
        """Probabilities [N, K] at the temperature; the most probable class stays."""
        if self.temperature == 1:
            return np.asarray(probabilities, np.float64)
        return apply_temperature(_logarithms(probabilities), self.temperature)

    def predict(self, logits: np.ndarray) -> NDArray[np.float64]:
        """Logits [V, N, K] of the views to calibrated probabilities [N, K]."""
        return self.calibrate(self.average_views(logits))

    def refitted(self, logits: np.ndarray, labels: np.ndarray) -> Self:
        """The same views, with the temperature that suits validation best.

        Args:
            logits: [V, N, K] of the views on validation.
            labels: [N].
        """
        temperature = fit_temperature(_logarithms(self.average_views(logits)), labels)
        return replace(self, temperature=temperature, num_examples=len(labels))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        average = {
            "name": self.average.name,
            "weights": list(self.average.weights),
            "space": self.average.space.value,
        }
        return {
            "schema_version": SCHEMA_VERSION,
            "weights_sha256": self.weights_sha256,
            "views": [asdict(view) for view in self.views],
            "average": average,
            "temperature": self.temperature,
            "num_examples": self.num_examples,
            "measured": self.measured,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """What `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        if document["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema version {document['schema_version']}, not {SCHEMA_VERSION}")
        return cls(
            weights_sha256=document["weights_sha256"],
            views=tuple(View(**view) for view in document["views"]),
            average=Candidate.from_json(document["average"]),
            temperature=float(document["temperature"]),
            num_examples=document["num_examples"],
            measured=document["measured"],
        )


def measure_views(
    weights_sha256: str, logits: np.ndarray, labels: np.ndarray
) -> tuple[InferenceSettings, Choice]:
    """Chooses among the named lists of views and no averaging, and fits the temperature to it.

    Args:
        weights_sha256: of the network.
        logits: [V, N, K] of `ALL_VIEWS` on validation.
        labels: [N].
    """
    indices = {
        name: tuple(ALL_VIEWS.index(view) for view in views)
        for name, views in VIEWS.items()
        if name != "none"
    }
    choice = choose_views(softmax(logits), labels, indices)
    kept = [index for index, weight in enumerate(choice.chosen.weights) if weight > 0]
    average = Candidate(
        name=choice.chosen.name,
        weights=tuple(choice.chosen.weights[index] for index in kept),
        space=choice.chosen.space,
    )
    settings = InferenceSettings(
        weights_sha256=weights_sha256,
        views=tuple(ALL_VIEWS[index] for index in kept),
        average=average,
        measured={"views": [asdict(view) for view in ALL_VIEWS], **choice.to_json()},
    )
    return settings.refitted(logits[kept], labels), choice


def load_inference_settings(run_dir: str, weights_sha256: str) -> InferenceSettings | None:
    """What is stored with a run for these weights; None where nothing is.

    Raises:
        RunFolderError: the file is damaged.
    """
    import tensorflow as tf

    path = os.path.join(run_dir, FILE_NAME)
    if not tf.io.gfile.exists(path):
        return None
    try:
        with tf.io.gfile.GFile(path) as file:
            settings = InferenceSettings.from_json(json.loads(file.read()))
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path} cannot be used ({type(error).__name__}: {error}); need what trainer.evaluate "
            "writes; evaluate the run on val again, or remove the file"
        ) from error
    return settings if settings.weights_sha256 == weights_sha256 else None


def write_inference_settings(run_dir: str, settings: InferenceSettings) -> str:
    """Writes the file whole or not at all and returns its path."""
    path = os.path.join(run_dir, FILE_NAME)
    text = json.dumps(settings.to_json(), indent=1, allow_nan=False) + "\n"
    write_whole(path, text.encode())
    return path


def _logarithms(probabilities: np.ndarray) -> NDArray[np.float64]:
    return np.log(np.clip(np.asarray(probabilities, np.float64), LEAST_PROBABILITY, None))
