r"""Predicts photos and writes a submission, and the probabilities beside it.

    python -m trainer.predict --run_dir=RUN [--run_dir=RUN2 ...] --data=DATA --out=submission.csv
    python -m trainer.predict --run_dir=RUN --images=DIR --out=labels.csv

See docs/evaluation.md.
"""

from pathlib import Path

from absl import flags

from tfrecords_builder import command_line
from trainer.devices import STRATEGIES, is_chief, make_strategy
from trainer.errors import DataError
from trainer.tensorflow_start import require_tensorflow

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
    from trainer.prediction import predict
    from trainer.prediction_files import write_result
    from trainer.prediction_request import PredictionRequest

    values = flags.FLAGS
    request = PredictionRequest(
        run_dirs=tuple(values.run_dir),
        data_dirs=tuple(values.data),
        split=values.split,
        images=values.images,
        weights=parse_weights(values.ensemble_weights),
    )
    require_tensorflow()

    strategy = make_strategy(values.strategy, values.num_devices, values.tpu)
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


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
