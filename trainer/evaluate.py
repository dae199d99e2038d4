r"""Scores a run on a split, or a submission against known labels.

    python -m trainer.evaluate --run_dir=RUN --data=DATA --split=val [--tta=measure]
    python -m trainer.evaluate --submission=submission.csv --labels=labels.csv

See docs/evaluation.md.
"""

import json
import os
from typing import TYPE_CHECKING

from absl import flags

from tfrecords_builder import command_line
from trainer.devices import STRATEGIES, is_chief, make_strategy
from trainer.errors import DataError
from trainer.tensorflow_start import require_tensorflow

if TYPE_CHECKING:
    from trainer.inference import TrainedRun
    from trainer.metrics.choice import Choice
    from trainer.run_evaluation import RunEvaluation

_WORST_CLASSES_SHOWN = 5


def define_flags() -> None:
    """Defines this command's flags; not at import, so that two commands can be imported."""
    flags.DEFINE_string("run_dir", None, "Folder of a run.")
    flags.DEFINE_string("data", None, "Folder with built records.")
    flags.DEFINE_string("split", "val", "train, val or test; it must have labels.")
    flags.DEFINE_string(
        "weights_file",
        "model.safetensors",
        "File of the run folder, for example weights/00-head-epoch003.safetensors.",
    )
    flags.DEFINE_enum(
        "tta",
        "stored",
        ("stored", "measure", "none"),
        "Views of each photo: as stored with the run, measured now on val, or the photo as it is.",
    )
    flags.DEFINE_enum("strategy", "auto", STRATEGIES, "What to run on; not there is an error.")
    flags.DEFINE_integer("num_devices", None, "mirrored: how many GPUs (or CPU devices).", 1)
    flags.DEFINE_string("tpu", "local", "tpu: local, a name, or grpc://HOST:PORT.")
    flags.DEFINE_string("submission", None, "Scores this CSV file instead of a run ...")
    flags.DEFINE_string("labels", None, "... against this one: id and true label.")
    flags.DEFINE_float("public_fraction", 0.5, "Share of photos on the public board.", 0, 1)
    flags.DEFINE_integer("board_seed", 0, "Which photos those are.")


def main() -> None:
    """Prints the scores; those of a run are written beside it as well."""
    values = flags.FLAGS
    if values.submission or values.labels:
        _require(("submission", "labels"))
        _score_submission(
            values.submission, values.labels, values.public_fraction, values.board_seed
        )
        return
    _require(("run_dir", "data"))
    require_tensorflow()
    from trainer.inference import TrainedRun
    from trainer.run_evaluation import evaluate_run

    strategy = make_strategy(values.strategy, values.num_devices, values.tpu)
    run = TrainedRun(values.run_dir, strategy, values.weights_file)
    scored = evaluate_run(run, values.data, values.split, values.tta)
    if is_chief(strategy):
        path = _write(run, values.data, values.split, scored)
        _print(scored, path)


def _require(names: tuple[str, ...]) -> None:
    missing = [name for name in names if not flags.FLAGS[name].value]
    if missing:
        raise DataError(
            f"--{missing[0]} is not given; need --run_dir and --data to score a run, or "
            "--submission and --labels to score a file; see --help"
        )


def _score_submission(submission: str, labels: str, public_fraction: float, seed: int) -> None:
    from trainer.submission.local_board import score_submission

    score = score_submission(submission, labels, public_fraction=public_fraction, seed=seed)
    for name, part in (("public", score.public), ("private", score.private), ("all", score.all)):
        if part is not None:
            low, high = part.interval
            print(
                f"{name:8}{part.accuracy:.5f}  (95 % interval {low:.4f} to {high:.4f}, "
                f"{part.num_photos} photos)"
            )


def _write(run: "TrainedRun", data_dir: str, split: str, scored: "RunEvaluation") -> str:
    """Writes evaluation, TensorBoard events and, where decided, how to predict; returns a path."""
    from trainer.inference_settings import write_inference_settings
    from trainer.report.evaluation_tensorboard import write_evaluation
    from trainer.report.mistakes_figure import mistakes_figure
    from trainer.run_record import MODEL_FILE
    from trainer.whole_files import write_whole

    is_published = run.weights_file == MODEL_FILE
    name = f"evaluation-{split}"
    if scored.data_fingerprint != run.data_fingerprint:
        # Other photos: beside the run's own scores and not in their place.
        name += f"-of-{scored.data_fingerprint[:8]}"
    if not is_published:
        name += "-" + os.path.basename(run.weights_file).removesuffix(".safetensors")
    document = {
        "run_id": run.record["run_id"],
        "split": split,
        "weights_file": run.weights_file,
        "weights_sha256": run.weights_sha256,
        **scored.to_json(),
    }
    path = os.path.join(run.run_dir, f"{name}.json")
    write_whole(path, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    best = [epoch["step"] for epoch in run.record.get("history", ()) if epoch["is_best"]]
    predictions = scored.predictions
    probabilities = scored.settings.predict(predictions.views)
    mistakes = mistakes_figure(run, data_dir, split, probabilities, predictions.labels, run.classes)
    write_evaluation(run.run_dir, name, best[-1] if best else 0, scored, mistakes)
    if scored.is_fitted and is_published:
        write_inference_settings(run.run_dir, scored.settings)
    return path


def _print(scored: "RunEvaluation", path: str) -> None:
    evaluation, calibrated, settings = scored.evaluation, scored.calibrated, scored.settings
    if scored.choice is not None:
        _print_choice(scored.choice)
    low, high = evaluation.top_1_interval
    print(
        f"accuracy           {evaluation.top_1:.4f}  (95 % interval {low:.4f} to {high:.4f}, "
        f"{evaluation.num_examples} photos)"
    )
    print(f"top 5              {evaluation.top_5:.4f}")
    print(f"balanced accuracy  {evaluation.balanced_accuracy:.4f}")
    print(f"macro F1           {evaluation.macro_f1:.4f}")
    print(f"log loss           {evaluation.log_loss:.4f}  (calibrated {calibrated.log_loss:.4f})")
    print(f"calibration error  {evaluation.ece:.4f}  (calibrated {calibrated.ece:.4f})")
    origin = "fitted on val" if scored.is_fitted else "as stored with the run"
    if not settings.num_examples:
        origin = "none was fitted: evaluate val of the run's own data"
    print(f"temperature        {settings.temperature:.4f}  ({origin})")
    print(f"views              {settings.average.name}")
    classes = [
        (scores.recall, name)
        for name, scores in zip(evaluation.class_names, evaluation.per_class, strict=True)
        if scores.recall is not None
    ]
    weakest = sorted(classes)[:_WORST_CLASSES_SHOWN]
    print("weakest classes    " + ", ".join(f"{name} {recall:.2f}" for recall, name in weakest))
    print(f"all of it          {path}")


def _print_choice(choice: "Choice") -> None:
    print("on validation      accuracy   p        log loss   p")
    for row in choice.measured:
        verdict = ""
        if row.candidate == choice.chosen:
            verdict = "  kept"
        elif row.pays:
            verdict = "  pays"
        print(
            f"  {row.candidate.name:26} {row.accuracy:.4f}  {row.p_accuracy:.4f}  "
            f"{row.log_loss:.4f}  {row.p_log_loss:.4f}{verdict}"
        )
    print(f"a gain counts below p = {choice.level:.4f} ({choice.num_examples} photos)")


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
