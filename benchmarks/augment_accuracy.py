"""Do CLAHE and adaptive gamma help a frozen network to tell cars apart, and does our decoder cost?

    python benchmarks/augment_accuracy.py --data=DATA --weights=efficientnetv2-b0_notop.h5
        [--image_px=224] [--folds=5] [--repeats=4] [--views=2] [--ways=CLAHE]

Each way of preparing the photos gives features of a frozen EfficientNetV2-B0; a logistic regression
on them is cross-validated over all labelled photos, the same folds for every way. "always" prepares
training and validation photos alike. "p 0.5" trains on some views drawn with the operation at
probability 1/2, validates on untouched photos and is compared with as many plain views. Shown:
accuracy, the paired difference in points with a 95 % interval (bootstrap over photos), and
McNemar's exact p of the first repeat.
"""

import argparse
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import io  # noqa: E402

import numpy as np  # noqa: E402

ROWS = 32


def load_photos(data_dir: str, canvas_px: int) -> dict[str, np.ndarray]:
    """Canvases by our decoder and by Pillow alone, aspects and labels of all labelled photos."""
    from PIL import Image

    from tfrecords_builder.manifest import load_manifest
    from tfrecords_builder.records import read_records
    from trainer.input.decoding import decode_canvas

    splits = load_manifest(data_dir).splits
    records = [
        record
        for name in ("train", "val")
        for shard in splits[name].shards
        for record in read_records(Path(data_dir) / shard.file)
    ]
    decoded = [decode_canvas(record.image, canvas_px) for record in records]
    by_pillow = [
        np.asarray(
            Image.open(io.BytesIO(record.image))
            .convert("RGB")
            .resize((canvas_px, canvas_px), Image.Resampling.BILINEAR)
        )
        for record in records
    ]
    return {
        "ours": np.stack([canvas for canvas, _ in decoded]),
        "pillow": np.stack(by_pillow),
        "aspects": np.array([aspect for _, aspect in decoded], np.float32),
        "labels": np.array([record.label for record in records]),
    }


def make_extractor(weights: str, image_px: int) -> object:
    """Function of (canvases, aspects, augmentation, view) that gives features [N, F]."""
    import keras
    import tensorflow as tf

    from trainer.augment.batch import augment_batch, evaluation_batch
    from trainer.network.build import build_network
    from trainer.recipes import load_recipe
    from trainer.weights import load_weights

    recipe = load_recipe("cars_small")
    network = build_network(recipe, 10, image_px)
    variables = network.variables()
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    for name, array in load_weights(weights, recipe.backbone, shapes).arrays.items():
        variables[name].assign(array)
    pooled = keras.Model(network.model.inputs, network.model.get_layer("head_pool").output)

    def features(
        canvases: np.ndarray, aspects: np.ndarray, augmentation: object, view: int | None
    ) -> np.ndarray:
        @tf.function(autograph=False)
        def step(rows: tf.Tensor, aspect: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
            if view is None:
                images = evaluation_batch(rows, aspect, augmentation, image_px)
            else:
                no_labels = tf.zeros([ROWS, 1])
                images, _ = augment_batch(rows, aspect, no_labels, seeds, augmentation, image_px)
            return pooled(images, training=False)

        parts = []
        for first in range(0, len(canvases), ROWS):
            places = np.arange(first, first + ROWS) % len(canvases)
            seeds = np.stack([np.full(ROWS, view or 0), places], axis=1).astype(np.int32)
            parts.append(step(canvases[places], aspects[places], seeds).numpy())
        return np.concatenate(parts)[: len(canvases)]

    return features


def cross_validate(
    train: list[np.ndarray], test: np.ndarray, labels: np.ndarray, folds: int, repeats: int
) -> np.ndarray:
    """Whether each photo was told right, bool [repeats, N]."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    right = np.zeros((repeats, len(labels)), bool)
    for repeat in range(repeats):
        splitter = StratifiedKFold(folds, shuffle=True, random_state=repeat)
        for fit, held_out in splitter.split(test, labels):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=500))
            model.fit(
                np.concatenate([view[fit] for view in train]), np.tile(labels[fit], len(train))
            )
            right[repeat, held_out] = model.predict(test[held_out]) == labels[held_out]
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--image_px", type=int, default=224)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--ways", default="", help="only those whose names hold this, and plain")
    flags = parser.parse_args()

    from scipy.stats import binomtest

    from trainer.augment.config import Augmentation
    from trainer.input.canvases import canvas_px_of

    photos = load_photos(flags.data, canvas_px_of(flags.image_px))
    extract = make_extractor(flags.weights, flags.image_px)
    aspects, labels = photos["aspects"], photos["labels"]

    def always(canvases: np.ndarray, **fields: object) -> tuple[list[np.ndarray], np.ndarray]:
        found = extract(canvases, aspects, Augmentation(**fields), None)
        return [found], found

    plain = always(photos["ours"])

    def by_chance(**fields: object) -> tuple[list[np.ndarray], np.ndarray]:
        augmentation = Augmentation(**fields)
        views = range(flags.views)
        return [extract(photos["ours"], aspects, augmentation, view) for view in views], plain[1]

    ways = {
        "plain": lambda: plain,
        "decoded by Pillow": lambda: always(photos["pillow"]),
        "plain, as many views": lambda: ([plain[1]] * flags.views, plain[1]),
        "CLAHE always": lambda: always(photos["ours"], clahe="always"),
        "CLAHE p 0.5": lambda: by_chance(clahe=0.5),
        "adaptive gamma always": lambda: always(photos["ours"], adaptive_gamma="always"),
        "adaptive gamma p 0.5": lambda: by_chance(adaptive_gamma=0.5),
    }
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(labels), (2000, len(labels)))
    base: dict[bool, np.ndarray] = {}
    print(f"{len(labels)} photos, {flags.image_px} px, {flags.repeats} x {flags.folds} folds")
    for name, make in ways.items():
        if not name.startswith("plain") and flags.ways not in name:
            continue
        right = cross_validate(*make(), labels, flags.folds, flags.repeats)
        # More rows are a weaker penalty: views are compared with as many plain ones.
        views = name.endswith(("views", "0.5"))
        peer = base.setdefault(views, right)
        difference = 100 * (right.mean(axis=0) - peer.mean(axis=0))
        low, high = np.percentile(difference[draws].mean(axis=1), [2.5, 97.5])
        won, lost = (right[0] & ~peer[0]).sum(), (~right[0] & peer[0]).sum()
        p = binomtest(won, won + lost).pvalue if won + lost else 1.0
        print(
            f"{name:26} accuracy {right.mean():.3f}  {difference.mean():+.1f} points "
            f"[{low:+.1f}, {high:+.1f}]  won {won} lost {lost} p {p:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
