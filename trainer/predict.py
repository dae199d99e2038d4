"""Writes a submission.

python -m trainer.predict --run_dir=RUN --data=DATA --split=test --out=submission.csv
"""

from absl import flags

from tfrecords_builder import command_line
from trainer.devices import STRATEGIES, require_tensorflow

FLAGS = flags.FLAGS

flags.DEFINE_string("run_dir", None, "Folder of a finished run.", required=True)
flags.DEFINE_string("data", None, "Folder with built records.", required=True)
flags.DEFINE_string("split", "test", "train, val or test.")
flags.DEFINE_string("out", "submission.csv", "CSV file to write; an older one is replaced.")
flags.DEFINE_enum("strategy", "auto", STRATEGIES, "What to run on.")

_DEFAULT_COLUMNS = ("Id", "Category")


def main() -> None:
    """Predicts a split and writes one row a photo, in the order of the sample submission."""
    require_tensorflow()
    from tfrecords_builder.manifest import load_manifest
    from trainer.devices import make_strategy
    from trainer.inference import TrainedRun
    from trainer.submission.file import insert_missing, write_submission

    run = TrainedRun(FLAGS.run_dir, make_strategy(FLAGS.strategy))
    result = run.logits(FLAGS.data, FLAGS.split)
    ids = list(result.ids)
    labels = [run.classes[index] for index in result.logits.argmax(axis=1)]
    manifest = load_manifest(FLAGS.data)
    id_column, label_column = _DEFAULT_COLUMNS
    if manifest.submission is not None and FLAGS.split == "test":
        id_column, label_column = manifest.submission.id_column, manifest.submission.label_column
        missing = [(row.position, row.id) for row in manifest.submission.missing]
        counts = manifest.splits["train"].class_counts
        ids, labels = insert_missing(ids, labels, missing, run.classes[counts.index(max(counts))])
        if missing:
            print(f"{len(missing)} ids have no usable photo and got the largest class")
    write_submission(FLAGS.out, ids, labels, id_column=id_column, label_column=label_column)
    print(f"{len(ids)} predictions in {FLAGS.out}")


if __name__ == "__main__":
    command_line.run(main)
