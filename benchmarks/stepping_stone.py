"""What does a first training on other cars bring, before the one on the cars that are asked for?

    python benchmarks/stepping_stone.py [--divisions=4] [--seeds=1] [--image_px=128]

The two steps of the recipes `stanford_cars` and `ford_vs_ferrari` at the size of two CPU cores:
EfficientNetV2-B0, small images, few epochs. The ten makes of the photos in CARS_MATERIAL are dealt
into two halves. A make joins several models, so one half are groups for the first step. The second
step learns the other half from few photos, once from ImageNet's weights and once from those of the
first step; what it has learnt is tried on photos that no training and no choice of an epoch has
seen. The steps share neither a class nor a photo.
"""

import argparse
import csv
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from tfrecords_builder.build import BuildSettings, build  # noqa: E402
from tfrecords_builder.sources.competition import CompetitionSource  # noqa: E402
from tfrecords_builder.splits import SplitSettings  # noqa: E402

MATERIAL = Path(os.environ.get("CARS_MATERIAL", REPOSITORY.parent / "shared" / "data"))
IMAGENET = MATERIAL / "weights" / "efficientnetv2-b0_notop.h5"
TRAINED_PHOTOS = 40
"""Of every class in the second step, a fifth of them for validation; the other 40 are the test."""

COMMON = ("backbone=EfficientNetV2B0", "drop_connect=0", "head_dropout=0.3", "monitor=val_loss")
KEPT_FEATURES = (
    "stages.head.batch_size=32",
    "stages.head.cache_feature_views=4",
    "stages.head.learning_rate=3e-3",
    "stages.head.epochs=12",
)
FULL = (
    "stages.upper_half.train_from=all",
    "stages.upper_half.learning_rate=1e-3",
    "stages.upper_half.schedule=cosine",
    "stages.upper_half.warmup_epochs=1",
    "stages.upper_half.weight_decay=0.05",
    "stages.upper_half.ema_decay=0.95",
    "stages.upper_half.early_stopping_patience=None",
    "stages.upper_half.plateau_patience=None",
)
FIRST_STEP = (*COMMON, *KEPT_FEATURES, *FULL, "stages.upper_half.epochs=12")
SECOND_STEP = (
    *COMMON,
    *KEPT_FEATURES,
    *FULL,
    "stages.upper_half.epochs=20",
    "stages.upper_half.batch_size=16",
    "stages.upper_half.augmentation.crop_area=(0.35, 1.0)",
    "stages.upper_half.augmentation.crop_ratio=(0.75, 1.33)",
    "stages.finish.epochs=2",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One second step."""

    accuracy: float
    log_loss: float


def read_labels() -> dict[str, str]:
    """Returns file name -> make."""
    makes = (MATERIAL / "cars" / "classes.txt").read_text().split()
    with open(MATERIAL / "cars" / "train.csv", newline="") as file:
        return {row["Id"]: makes[int(row["Category"])] for row in csv.DictReader(file)}


def build_records(
    out: Path, trained: dict[str, str], tested: Sequence[str], seed: int, val_fraction: float
) -> None:
    """Builds the records of a competition with these labelled photos and these to predict."""
    photos = {path.name: path for path in (MATERIAL / "cars" / "train").glob("*/*.jpg")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, ids in (("train", trained), ("test", tested)):
            (folder / part).mkdir()
            for photo in ids:
                shutil.copy(photos[photo], folder / part / photo)
        _write_table(folder / "train.csv", [(photo, trained[photo]) for photo in sorted(trained)])
        _write_table(folder / "sample.csv", [(photo, "0") for photo in tested])
        source = CompetitionSource(
            images=str(folder / "train"),
            labels=str(folder / "train.csv"),
            test_images=str(folder / "test") if tested else None,
            sample_submission=str(folder / "sample.csv") if tested else None,
        )
        split = SplitSettings(val_fraction=val_fraction, seed=seed)
        build(source, BuildSettings(out=str(out), split=split))


def _write_table(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("Id", "Category"), *rows])


def train(
    data: Path, run: Path, recipe: str, overrides: Sequence[str], weights: Path, seed: int
) -> None:
    """Trains as `python -m trainer.task` does."""
    from trainer.session_options import SessionOptions
    from trainer.train import train as train_session

    train_session(
        SessionOptions(
            data_dir=str(data),
            run_dir=str(run),
            recipe_name=recipe,
            overrides=tuple(overrides),
            weights=str(weights),
            precision=None,
            strategy="cpu",
            num_devices=None,
            tpu="local",
            seed=seed,
            batch_scaling="fixed",
            cache="auto",
            xla=None,
            deadline=None,
            checkpoint_every="60m",
            max_rollbacks=0,
            rehearse=None,
            rehearse_only=False,
            allow_changes=False,
        )
    )


def score(data: Path, run: Path, labels: dict[str, str]) -> Outcome:
    """Holds the run's predictions of the test split against labels that it has never seen."""
    from trainer.devices import make_strategy
    from trainer.inference import TrainedRun

    trained = TrainedRun(str(run), make_strategy("cpu"))
    found = trained.logits(str(data), "test")
    truth = np.array([trained.classes.index(labels[name]) for name in found.ids])
    logits = found.logits - found.logits.max(axis=1, keepdims=True)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return Outcome(
        accuracy=float((logits.argmax(axis=1) == truth).mean()),
        log_loss=float(-log_probabilities[np.arange(len(truth)), truth].mean()),
    )


def run_division(
    work: Path, division: int, num_seeds: int, image_px: int
) -> dict[str, list[Outcome]]:
    """Both steps on one division of the makes; the outcomes by where the second step started."""
    labels = read_labels()
    order = np.random.default_rng(division)
    makes = order.permutation(sorted(set(labels.values())))
    first, second = makes[: len(makes) // 2], makes[len(makes) // 2 :]
    groups = work / "groups"
    trained: dict[str, str] = {}
    tested: list[str] = []
    build_records(
        groups, {k: make for k, make in labels.items() if make in first}, [], division, 0.15
    )
    for make in second:
        photos = order.permutation(sorted(name for name, of in labels.items() if of == make))
        trained |= dict.fromkeys(photos[:TRAINED_PHOTOS].tolist(), str(make))
        tested += photos[TRAINED_PHOTOS:].tolist()
    data = work / "data"
    build_records(data, trained, tested, division, 0.2)
    stone = work / "stone"
    size = [f"stages.*.image_px={image_px}"]
    train(groups, stone, "stanford_cars", [*FIRST_STEP, *size], IMAGENET, division)
    larger = [*size, f"stages.finish.image_px={image_px * 5 // 32 * 8}"]
    outcomes: dict[str, list[Outcome]] = {}
    for seed in range(num_seeds):
        for name, weights in (("ImageNet", IMAGENET), ("stepping stone", stone)):
            run = work / f"{name}-{seed}".replace(" ", "-")
            train(data, run, "ford_vs_ferrari", [*SECOND_STEP, *larger], weights, seed)
            outcomes.setdefault(name, []).append(score(data, run, labels))
            print(
                f"division {division}: {', '.join(second)}: seed {seed}, {name}: "
                f"{outcomes[name][-1]}",
                file=sys.stderr,
                flush=True,
            )
    return outcomes


def main() -> None:
    """Runs all divisions and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--divisions", type=int, default=4)
    parser.add_argument("--first_division", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--image_px", type=int, default=128)
    options = parser.parse_args()
    if not IMAGENET.exists():
        sys.exit(f"no {IMAGENET}; need car photos and weights there: set CARS_MATERIAL")
    means: dict[str, list[tuple[float, float]]] = {}
    for division in range(options.first_division, options.first_division + options.divisions):
        with tempfile.TemporaryDirectory() as folder:
            outcomes = run_division(Path(folder), division, options.seeds, options.image_px)
        for name, of_seeds in outcomes.items():
            mean = (
                statistics.mean(outcome.accuracy for outcome in of_seeds),
                statistics.mean(outcome.log_loss for outcome in of_seeds),
            )
            means.setdefault(name, []).append(mean)
    print(f"{'second step from':18}{'accuracy':>10}{'log loss':>10}   accuracy of each division")
    for name, of_divisions in means.items():
        accuracy, log_loss = (statistics.mean(column) for column in zip(*of_divisions, strict=True))
        each = ", ".join(f"{one:.3f}" for one, _ in of_divisions)
        print(f"{name:18}{accuracy:10.3f}{log_loss:10.3f}   {each}")


if __name__ == "__main__":
    main()
