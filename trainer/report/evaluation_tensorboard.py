"""An evaluation for TensorBoard: scalars, and its figures."""

import os
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from trainer.report.evaluation_figures import confusion_figure, reliability_figure
from trainer.report.tensorboard import folder_of
from trainer.run_evaluation import RunEvaluation


def write_evaluation(
    run_dir: str, name: str, step: int, scored: RunEvaluation, mistakes: NDArray[np.uint8] | None
) -> None:
    """Writes event files into `tensorboard/NAME` of the run folder, in place of older ones.

    Args:
        run_dir: local or gs://.
        name: of the evaluation, for example evaluation-val.
        step: optimizer steps that the weights have seen.
        scored: what is shown.
        mistakes: a picture of the worst ones, uint8 [H, W, 3]; None where there are none.
    """
    evaluation, calibrated = scored.evaluation, scored.calibrated
    scalars: dict[str, Any] = {
        "accuracy": evaluation.top_1,
        "top_5": evaluation.top_5,
        "balanced_accuracy": evaluation.balanced_accuracy,
        "macro_f1": evaluation.macro_f1,
        "log_loss": evaluation.log_loss,
        "calibration_error": evaluation.ece,
        "temperature": scored.settings.temperature,
        "calibrated_log_loss": calibrated.log_loss,
        "calibrated_calibration_error": calibrated.ece,
    }
    figures = {
        "confusion_matrix": confusion_figure(evaluation),
        "reliability": reliability_figure(evaluation, calibrated),
    }
    if mistakes is not None:
        figures["most_confident_mistakes"] = mistakes
    folder = os.path.join(folder_of(run_dir), name)
    if tf.io.gfile.isdir(folder):
        # What an earlier evaluation said would be shown beside this one, at the same step.
        tf.io.gfile.rmtree(folder)
    writer = tf.summary.create_file_writer(folder)
    with writer.as_default(step=step):
        for key, value in scalars.items():
            tf.summary.scalar(f"scores/{key}", value)
        for key, picture in figures.items():
            tf.summary.image(f"scores/{key}", picture[None])
    writer.close()
