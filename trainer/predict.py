r"""Predicts photos and writes a submission, and the probabilities beside it.

    python -m trainer.predict --run_dir=RUN [--run_dir=RUN2 ...] --data=DATA --out=submission.csv
    python -m trainer.predict --run_dir=RUN --images=DIR --out=labels.csv

See docs/evaluation.md.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfrecords_builder import command_line
from trainer.devices import STRATEGIES, require_tensorflow
from trainer.errors import DataError

if TYPE_CHECKING:
    from trainer.prediction import EnsemblePrediction

_UNUSABLE_SHOWN = 20
_DEFAULT_COLUMNS = ("Id", "Category")
LABEL_FORMATS = ("names", "ids")


def define_flags() -> None:
    """Defines this command's flags; not at import, so that two commands can be imported."""
    flags.DEFINE_multi_string(
        "run_dir", None, "Folder of a finished run; repeat it for an ensemble.", required=True
    )
    flags.DEFINE_multi_string(
        "data", [], "Folder with built records; repeat it to give each run its own (folds)."
    )
    flags.DEFINE_string("split", "test", "train, val or test.")
    flags.DEFINE_string("images", None, "Predicts the photos of this folder instead of a split.")
    flags.DEFINE_string("out", "submission.csv", "CSV file to write; an older one is replaced.")
    flags.DEFINE_string(
        "predictions", None, "CSV file of probabilities; predictions.csv beside --out by default."
    )
    flags.DEFINE_string(
        "ensemble_weights", "fit", "fit (on val), equal, or numbers: --ensemble_weights=2,1"
    )
    flags.DEFINE_enum("label_format", "names", LABEL_FORMATS, "Class names, or ids counted from 0.")
    flags.DEFINE_enum("strategy", "auto", STRATEGIES, "What to run on; not there is an error.")
    flags.DEFINE_integer("num_devices", None, "mirrored: how many GPUs (or CPU devices).", 1)
    flags.DEFINE_string("tpu", "local", "tpu: local, a name, or grpc://HOST:PORT.")


def main() -> None:
    """Predicts as the flags say."""
    from trainer.prediction import PredictionRequest, predict

    values = flags.FLAGS
    request = PredictionRequest(
        run_dirs=tuple(values.run_dir),
        data_dirs=tuple(values.data),
        split=values.split,
        images=values.images,
        weights=parse_weights(values.ensemble_weights),
    )
    require_tensorflow()
    from trainer.devices import is_chief
    from trainer.inference import open_strategy

    strategy = open_strategy(values.strategy, values.num_devices, values.tpu)
    result = predict(request, strategy)
    if not is_chief(strategy):
        return
    out = Path(values.out)
    test_data = values.data[0] if values.split == "test" and not values.images else None
    write_result(
        result,
        out,
        Path(values.predictions) if values.predictions else out.with_name("predictions.csv"),
        test_data,
        values.label_format,
    )


def parse_weights(text: str) -> str | tuple[float, ...]:
    """`fit`, `equal`, or numbers separated by commas.

    Raises:
        DataError: anything else.
    """
    if text in ("fit", "equal"):
        return text
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise DataError(
            f"--ensemble_weights={text} cannot be read; need fit, equal, or a number a run "
            "separated by commas, for example 2,1"
        ) from None


def write_result(
    result: "EnsemblePrediction",
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
    from tfrecords_builder.manifest import load_manifest
    from trainer.submission.file import insert_missing, write_atomically, write_submission
    from trainer.submission.predictions import write_predictions

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
    lineage = json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n"
    write_atomically(predictions_file.with_suffix(".json"), lineage)
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
    print(f"{len(ids)} predictions in {out}{left_out}; probabilities in {predictions_file}")


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
