"""Weights from the command line: what is in a file, convert it, tell two apart.

    python -m trainer.weights inspect FILE
    python -m trainer.weights convert FILE OUT.safetensors
    python -m trainer.weights compare FILE FILE

FILE is all that --weights takes: a Keras file, a TensorFlow checkpoint or tar, a run, or
`imagenet` and `noisy-student` with --backbone.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tfrecords_builder import command_line
from tfrecords_builder.errors import UserError

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "backbone", None, "Whose weights: EfficientNetB5, ...; found by itself in files."
)
flags.DEFINE_bool("every_tensor", False, "inspect: list every tensor with its shape and place.")

_USAGE = {
    "inspect": "inspect FILE",
    "convert": "convert FILE OUT.safetensors",
    "compare": "compare FILE FILE",
}


def main(arguments: Sequence[str]) -> None:
    """Does what the first argument says."""
    verb, *files = arguments or [""]
    usage = _USAGE.get(verb)
    if usage is None or len(files) != len(usage.split()) - 1:
        raise UserError(
            f"cannot do {' '.join(arguments)!r}; need one of: {'; '.join(_USAGE.values())}; "
            "see --help"
        )
    # Only now: --help and a wrong verb answer without NumPy.
    from trainer.weights import conversion, inspection
    from trainer.weights.loading import open_weights

    backbone = FLAGS.backbone or ""
    if verb == "convert":
        print(conversion.convert(files[0], Path(files[1]), backbone))
        return
    with open_weights(files[0], backbone) as first:
        if verb == "inspect":
            lines = inspection.describe(first, FLAGS.every_tensor)
        else:
            with open_weights(files[1], backbone) as second:
                lines = inspection.describe_comparison(inspection.compare(first, second))
        print("\n".join(lines))


if __name__ == "__main__":
    command_line.run_with_arguments(main)
