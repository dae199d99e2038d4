"""Scores a run on a split: python -m trainer.evaluate --run_dir=RUN --data=DATA --split=val."""

import json
import os
from typing import TYPE_CHECKING

from absl import flags

from tfrecords_builder import command_line
from trainer.devices import STRATEGIES, require_tensorflow
from trainer.errors import DataError

if TYPE_CHECKING:
    from trainer.metrics import Evaluation

FLAGS = flags.FLAGS

flags.DEFINE_string("run_dir", None, "Folder of a finished run.", required=True)
flags.DEFINE_string("data", None, "Folder with built records.", required=True)
flags.DEFINE_string("split", "val", "train, val or test.")
flags.DEFINE_enum("strategy", "auto", STRATEGIES, "What to run on.")

_WORST_CLASSES_SHOWN = 5


def main() -> None:
    """Prints the scores and writes them beside the run as evaluation-SPLIT.json."""
    require_tensorflow()
    from trainer.devices import make_strategy
    from trainer.inference import TrainedRun, softmax
    from trainer.metrics import evaluate_predictions
    from trainer.submission.file import write_atomically

    run = TrainedRun(FLAGS.run_dir, make_strategy(FLAGS.strategy))
    result = run.logits(FLAGS.data, FLAGS.split)
    if (result.labels < 0).any():
        raise DataError(
            f"split {FLAGS.split!r} has photos without labels; need labels to score; predict it "
            "with trainer.predict"
        )
    evaluation = evaluate_predictions(softmax(result.logits), result.labels, run.classes)
    from pathlib import Path

    path = Path(FLAGS.run_dir) / f"evaluation-{FLAGS.split}.json"
    write_atomically(path, json.dumps(evaluation.to_json(), indent=1, allow_nan=False) + "\n")
    _print(evaluation, os.fspath(path))


def _print(evaluation: "Evaluation", path: str) -> None:
    low, high = evaluation.top_1_interval
    print(
        f"accuracy           {evaluation.top_1:.4f}  (95 % interval {low:.4f} to {high:.4f}, "
        f"{evaluation.num_examples} photos)"
    )
    print(f"top 5              {evaluation.top_5:.4f}")
    print(f"balanced accuracy  {evaluation.balanced_accuracy:.4f}")
    print(f"macro F1           {evaluation.macro_f1:.4f}")
    print(f"log loss           {evaluation.log_loss:.4f}")
    print(f"calibration error  {evaluation.ece:.4f}")
    scored = [
        (scores.recall, name, scores.support)
        for name, scores in zip(evaluation.class_names, evaluation.per_class, strict=True)
        if scores.support and scores.recall is not None
    ]
    print(
        "weakest classes    "
        + ", ".join(
            f"{name} {recall:.2f}" for recall, name, _ in sorted(scored)[:_WORST_CLASSES_SHOWN]
        )
    )
    print(f"all of it          {path}")


if __name__ == "__main__":
    command_line.run(main)
