"""Averages the weights of runs: python -m trainer.soup --runs=RUN,RUN,RUN --data=DATA --out=SOUP.

The runs must have started from the same pretrained weights and differ in seed, augmentation or
learning rate. OUT is a run folder like any other: evaluate it, predict with it, export it. It costs
one network at inference, where an ensemble costs all of them.
"""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from tfrecords_builder import command_line
from trainer.devices import STRATEGIES
from trainer.errors import DataError, RunFolderError
from trainer.tensorflow_start import require_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf

    from tfrecords_builder.manifest import Manifest
    from trainer.weights.soup import Soup

FLAGS = flags.FLAGS

flags.DEFINE_list("runs", None, "Folders of finished runs, two or more.", required=True)
flags.DEFINE_string("data", None, "Folder with built records.", required=True)
flags.DEFINE_string("out", None, "Run folder to write; must not hold anything yet.", required=True)
flags.DEFINE_enum("strategy", "auto", STRATEGIES, "What to run on.")

_MAX_STATISTICS_PHOTOS = 4096
_BATCH = 32


def main() -> None:
    """Averages what helps on validation, writes the result and prints what every run gave."""
    require_tensorflow()
    from trainer.devices import make_strategy

    soup = average_runs(FLAGS.runs, FLAGS.data, FLAGS.out, make_strategy(FLAGS.strategy))
    for name, score in soup.single_scores.items():
        print(f"{score:10.4f}  {name} alone")
    for name, score in soup.tried.items():
        print(f"{score:10.4f}  with {name}: {'kept' if name in soup.members else 'left out'}")
    print(f"{soup.score:10.4f}  {FLAGS.out}: average of {len(soup.members)} of {len(FLAGS.runs)}")


def average_runs(
    runs: list[str], data_dir: str, out: str, strategy: "tf.distribute.Strategy"
) -> "Soup":
    """Writes the greedy soup of some runs as a run folder.

    Validation decides by what the first run's recipe monitors; a loss counts as minus the loss. The
    BatchNorm statistics are the members' average, or those measured again on training photos,
    whichever is better. The record has the recipe and the data of the best member; what its
    training reached, took and handed in is not the soup's and stays out.

    Raises:
        RunFolderError: fewer than two runs, runs that do not fit each other, or `out` is in use.
        DataError: the data have no labelled validation photos, or other classes.
    """
    import tensorflow as tf

    from tfrecords_builder.manifest import load_manifest
    from trainer.engine.tensor_files import read_tensors, write_tensors
    from trainer.run_record import MODEL_FILE, load_run_record, write_run_record
    from trainer.soup_record import make_soup_record
    from trainer.weights.soup import greedy_soup
    from trainer.weights.statistics import measure_statistics

    started = time.monotonic()
    if len(set(runs)) != len(runs) or len(runs) < 2:
        raise RunFolderError(
            f"{runs} were given; need two or more different runs; name them with --runs"
        )
    if tf.io.gfile.exists(out) and tf.io.gfile.listdir(out):
        raise RunFolderError(f"{out!r} is not empty; need a new folder; choose another --out")
    records = {run: load_run_record(run) for run in runs}
    metadata = _common_metadata(records)
    manifest = load_manifest(data_dir)
    if list(manifest.classes) != json.loads(metadata["classes"]):
        raise DataError(
            f"{data_dir!r} has other classes than the runs; use the data that they were trained on"
        )
    scorer = _Scorer(records[runs[0]], metadata, manifest, data_dir, strategy)

    def load(run: str) -> dict[str, np.ndarray]:
        return read_tensors(os.path.join(run, MODEL_FILE))[0]

    soup = greedy_soup(tuple(runs), load, scorer.score)
    measured = False
    if len(soup.members) > 1:
        scorer.assign(soup.arrays)
        renewed = soup.arrays | measure_statistics(scorer.model, scorer.training_batches())
        score = scorer.score(renewed)
        if score > soup.score:
            measured = True
            soup = dataclasses.replace(soup, arrays=renewed, score=score)
    tf.io.gfile.makedirs(out)
    write_tensors(os.path.join(out, MODEL_FILE), soup.arrays, metadata)
    loss, accuracy = scorer.measure(soup.arrays)
    lineage = {
        "members": {run: _model_sha256(run) for run in soup.members},
        "single_scores": soup.single_scores,
        "tried": soup.tried,
        "monitor": scorer.monitor,
        "score": soup.score,
        "val_accuracy": accuracy,
        "val_loss": loss,
        "statistics": "measured on training photos" if measured else "average of the members",
    }
    seconds = time.monotonic() - started
    write_run_record(out, make_soup_record(records[soup.members[0]], lineage, strategy, seconds))
    return soup


class _Scorer:
    """One network for all candidates, compiled once."""

    def __init__(
        self,
        record: dict[str, Any],
        metadata: dict[str, str],
        manifest: "Manifest",
        data_dir: str,
        strategy: "tf.distribute.Strategy",
    ):
        from trainer.engine.evaluation import EVALUATION_ROWS, Evaluator
        from trainer.input.canvases import Canvases, canvas_px_of
        from trainer.network.build import build_network
        from trainer.run_record import recipe_from_json

        recipe = recipe_from_json(record["settings"]["recipe"])
        self.monitor = recipe.monitor
        self._augmentation = recipe.stages[-1].augmentation
        self._image_px = int(metadata["image_px"])
        # Statistics are measured in training mode, where dropout would disturb them.
        without_dropout = dataclasses.replace(recipe, head_dropout=0.0, drop_connect=0.0)
        with strategy.scope():
            network = build_network(without_dropout, len(manifest.classes), self._image_px)
        self.model = network.model
        self._variables = network.variables()
        splits = {}
        for name in ("train", "val"):
            split = manifest.splits.get(name)
            if split is None or split.num_examples == 0:
                raise DataError(
                    f"{data_dir!r} has no split {name!r}; need it to choose by; "
                    "build the records again"
                )
            splits[name] = Canvases(data_dir, split, canvas_px_of(self._image_px), "none")
        self._train, self._validation = splits["train"], splits["val"]
        self._evaluator = Evaluator(
            strategy, self.model, self._augmentation, self._image_px, EVALUATION_ROWS
        )

    def assign(self, arrays: dict[str, np.ndarray]) -> None:
        for name, variable in self._variables.items():
            variable.value.assign(arrays[name])

    def measure(self, arrays: dict[str, np.ndarray]) -> tuple[float, float]:
        """Loss and accuracy on validation."""
        from trainer.engine.evaluation import loss_and_accuracy

        self.assign(arrays)
        logits = self._evaluator.logits(self._validation)
        return loss_and_accuracy(logits, self._validation.labels)

    def score(self, arrays: dict[str, np.ndarray]) -> float:
        loss, accuracy = self.measure(arrays)
        return accuracy if self.monitor == "val_accuracy" else -loss

    def training_batches(self) -> Iterator[Any]:
        """Training photos as evaluation sees them, shuffled: shards may be sorted."""
        import tensorflow as tf

        from trainer.augment.batch import evaluation_batch

        order = np.random.default_rng(0).permutation(self._train.num_examples)[
            :_MAX_STATISTICS_PHOTOS
        ]
        batch = min(_BATCH, len(order))
        for start in range(0, len(order) - batch + 1, batch):
            rows = self._train.gather(order[start : start + batch])
            yield evaluation_batch(
                tf.constant(rows.images),
                tf.constant(rows.aspects),
                self._augmentation,
                self._image_px,
            )


def _common_metadata(records: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Classes, backbone and image size, which must be the same in all runs, as must their look."""
    from trainer.engine.tensor_files import read_tensors
    from trainer.run_record import MODEL_FILE

    found: dict[str, dict[str, str]] = {}
    looks = {}
    for run, record in records.items():
        metadata = read_tensors(os.path.join(run, MODEL_FILE))[1]
        found[run] = {name: metadata[name] for name in ("classes", "backbone", "image_px")}
        looks[run] = found[run] | _look(record)
    first = next(iter(records))
    for run, look in looks.items():
        differing = [name for name in look if look[name] != looks[first][name]]
        if differing:
            name = differing[0]
            raise RunFolderError(
                f"{run!r} has {name}={look[name]}, {first!r} has {looks[first][name]}; "
                "need runs of one network on the same classes that look at photos in one way; "
                "leave one out"
            )
    return found[first]


def _look(record: dict[str, Any]) -> dict[str, str]:
    """What evaluation does to photos; augmentation by chance may differ from run to run."""
    from trainer.run_record import recipe_from_json

    look = recipe_from_json(record["settings"]["recipe"]).stages[-1].augmentation
    clahe = (look.clahe_clip_limit, look.clahe_tiles) if look.clahe == "always" else "by chance"
    gamma = "always" if look.adaptive_gamma == "always" else "by chance"
    return {
        "resize": look.resize,
        "center_fraction": str(look.center_fraction),
        "pad_value": str(look.pad_value),
        "clahe": str(clahe),
        "adaptive_gamma": gamma,
    }


def _model_sha256(run: str) -> str:
    import tensorflow as tf

    from trainer.run_record import MODEL_FILE

    with tf.io.gfile.GFile(os.path.join(run, MODEL_FILE), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


if __name__ == "__main__":
    command_line.run(main)
