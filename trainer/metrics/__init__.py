"""Metrics over whole splits, in NumPy: the same numbers whatever device or batch they came from."""

from trainer.metrics.calibration import apply_temperature, fit_temperature
from trainer.metrics.evaluation import Evaluation, evaluate_predictions
from trainer.metrics.predictions import PredictionsError

__all__ = [
    "Evaluation",
    "PredictionsError",
    "apply_temperature",
    "evaluate_predictions",
    "fit_temperature",
]
