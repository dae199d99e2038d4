"""Scalars for TensorBoard, all stages on one axis of optimizer steps."""

import os

import tensorflow as tf

from trainer.plan import StagePlan
from trainer.progress import EpochRecord, Progress

FOLDER = "tensorboard"


class TensorBoardScalars:
    """Observer that writes event files below the run folder."""

    def __init__(self, run_dir: str):
        folder = os.path.join(run_dir, FOLDER)
        self._train = tf.summary.create_file_writer(os.path.join(folder, "train"))
        self._validation = tf.summary.create_file_writer(os.path.join(folder, "validation"))

    def on_steps(
        self, plan: StagePlan, progress: Progress, loss: float, images_per_sec: float
    ) -> None:
        """Speed and learning rate after each host call."""
        step = progress.steps_before + progress.step
        with self._train.as_default(step=step):
            rate = plan.learning_rate_at(progress.step - 1) * progress.rate_factor
            tf.summary.scalar("learning_rate", rate)
            if images_per_sec:
                tf.summary.scalar("images_per_second", images_per_sec)

    def on_epoch(self, plan: StagePlan, progress: Progress, record: EpochRecord) -> None:
        """Loss and accuracy after each epoch; the stage's number marks the borders."""
        for writer, loss, accuracy in (
            (self._train, record.train_loss, record.train_accuracy),
            (self._validation, record.val_loss, record.val_accuracy),
        ):
            if loss is not None and accuracy is not None:
                with writer.as_default(step=record.step):
                    tf.summary.scalar("loss", loss)
                    tf.summary.scalar("accuracy", accuracy)
        with self._train.as_default(step=record.step):
            tf.summary.scalar("stage", plan.index + 1)
        self._train.flush()
        self._validation.flush()
