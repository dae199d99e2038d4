"""The files of a prediction: labels, probabilities, and where they come from."""

import json
import sys
from pathlib import Path

from tfrecords_builder.manifest import load_manifest
from trainer.ensemble_prediction import EnsemblePrediction
from trainer.submission.file import insert_missing, write_atomically, write_submission
from trainer.submission.predictions import write_predictions

_UNUSABLE_SHOWN = 20
_DEFAULT_COLUMNS = ("Id", "Category")


def write_result(
    result: EnsemblePrediction,
    out: Path,
    predictions_file: Path,
    test_data: str | None,
    label_format: str = "names",
) -> None:
    """Writes labels, probabilities and where they come from, and says what was done.

    Args:
        result: of `predict`.
        out: the labels, one row a photo; with `test_data` in the order of the sample submission.
        predictions_file: the probabilities; where they come from stands beside it as .json.
        test_data: folder of the records whose test split was predicted.
        label_format: names or ids.
    """
    predictions = result.predictions
    names = predictions.class_names
    shown = names if label_format == "names" else [str(index) for index in range(len(names))]
    ids = list(predictions.ids)
    labels = [shown[index] for index in predictions.probabilities.argmax(axis=1)]
    id_column, label_column = _DEFAULT_COLUMNS
    manifest = load_manifest(test_data) if test_data is not None else None
    if manifest is not None and manifest.submission is not None:
        submission = manifest.submission
        id_column, label_column = submission.id_column, submission.label_column
        missing = [(row.position, row.id) for row in submission.missing]
        counts = manifest.splits["train"].class_counts
        ids, labels = insert_missing(ids, labels, missing, shown[counts.index(max(counts))])
        if missing:
            print(f"{len(missing)} ids have no usable photo and got the largest class")
    write_submission(out, ids, labels, id_column=id_column, label_column=label_column)
    write_predictions(
        predictions_file, predictions.ids, names, predictions.probabilities, predictions.labels
    )
    lineage_file = predictions_file.with_suffix(".json")
    lineage = json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n"
    write_atomically(lineage_file, lineage)
    _print(result, f"{len(ids)} predictions in {out}", predictions_file)


def _print(result: EnsemblePrediction, done: str, predictions_file: Path) -> None:
    predictions = result.predictions
    for name, reason in list(result.unusable.items())[:_UNUSABLE_SHOWN]:
        print(f"left out {name}: {reason}", file=sys.stderr)
    if (num_hidden := len(result.unusable) - _UNUSABLE_SHOWN) > 0:
        print(
            f"and {num_hidden} more, see {predictions_file.with_suffix('.json')}", file=sys.stderr
        )
    if len(result.members) > 1:
        for member, weight in zip(result.members, result.weights, strict=True):
            print(f"weight {weight:.4f}  {member.run_dir} ({member.settings.average.name})")
        print(f"weights: {result.reason}")
    labelled = predictions.labels >= 0
    if labelled.any():
        right = predictions.probabilities.argmax(axis=1)[labelled] == predictions.labels[labelled]
        print(f"accuracy {right.mean():.4f} on the {labelled.sum()} photos with labels")
    left_out = f", {len(result.unusable)} photos left out" if result.unusable else ""
    print(f"{done}{left_out}; probabilities in {predictions_file}")
