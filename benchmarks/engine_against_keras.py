"""How fast is a whole run beside its own bare step, and beside `keras.Model.fit`?

    python benchmarks/engine_against_keras.py --image_px=128 --batch_size=32

One network (EfficientNetV2-B0, random weights), photos already in memory, three ways of training:
everything, the upper half from block5a, the head alone. BatchNorm is frozen below the head on both
sides. Ours also resizes every photo on the device, which Keras is spared. Rounds take turns, so
that a machine that drifts drifts for all; the table holds medians.
"""

import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_integer("image_px", 128, "Side of the images.")
flags.DEFINE_integer("batch_size", 32, "Examples in a step.")
flags.DEFINE_integer("num_steps", 6, "Steps in one round.")
flags.DEFINE_integer("num_rounds", 5, "Rounds; the first one more, not counted, compiles.")

NUM_CLASSES = 10
WAYS = {"everything": "all", "upper half": "block5a", "head": "head"}


def main(argv: list[str]) -> None:
    """Prints the table."""
    import keras
    import tensorflow as tf

    from trainer.engine.rehearsal import MadeExamples
    from trainer.engine.stage_state import StageState
    from trainer.input.canvases import canvas_px_of
    from trainer.input.feed import train_feed
    from trainer.order import Order
    from trainer.plan import plan_stages
    from trainer.recipe import Recipe, Stage

    del argv
    px, batch_size, num_steps = FLAGS.image_px, FLAGS.batch_size, FLAGS.num_steps
    num_photos = batch_size * num_steps
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")

    def keras_way(train_from: str) -> Callable[[], None]:
        base = keras.applications.EfficientNetV2B0(
            include_top=False, weights=None, input_shape=(px, px, 3)
        )
        names = [layer.name for layer in base.layers]
        first = next((i for i, name in enumerate(names) if name.startswith(train_from)), None)
        for index, layer in enumerate(base.layers):
            trains = train_from == "all" or (first is not None and index >= first)
            layer.trainable = trains and not isinstance(layer, keras.layers.BatchNormalization)
        pixels = keras.Input((px, px, 3))
        x = keras.layers.GlobalAveragePooling2D()(base(pixels))
        x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
        model = keras.Model(pixels, keras.layers.Dense(NUM_CLASSES, activation="softmax")(x))
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        images = np.random.default_rng(0).uniform(0, 255, (num_photos, px, px, 3))
        labels = np.zeros(num_photos, np.int32)
        data = tf.data.Dataset.from_tensor_slices((images.astype(np.float32), labels))
        data = data.batch(batch_size).cache().prefetch(2)
        return lambda: model.fit(data, epochs=1, verbose=0)

    def our_way(train_from: str, features: bool) -> tuple[Callable[[], None], Callable[[], None]]:
        stage = Stage(
            name="stage",
            image_px=px,
            batch_size=batch_size,
            epochs=10_000,
            learning_rate=1e-3,
            train_from=train_from,
            cache_feature_views=int(features),
        )
        recipe = Recipe(name="b", summary="", backbone="EfficientNetV2B0", stages=(stage,))
        (plan,) = plan_stages(recipe, num_examples=num_photos, num_replicas=1)
        state = StageState(
            strategy, recipe, plan, NUM_CLASSES, np.ones(NUM_CLASSES), False, on_features=features
        )
        order = Order(seed=0, num_examples=num_photos, batch_size=batch_size, num_epochs=10_000)
        examples = MadeExamples(num_photos, canvas_px_of(px))
        if features:
            examples.row_shape = (1280,)  # type: ignore[assignment]
            examples.dtype = np.float32  # type: ignore[assignment]
            row = np.random.default_rng(0).normal(size=1280).astype(np.float32)
            gather = examples.gather

            def gather_features(indices: np.ndarray, epochs: np.ndarray | None = None):
                rows = gather(indices[:1])
                return type(rows)(
                    images=np.tile(row, (len(indices), 1)),
                    aspects=np.ones(len(indices), np.float32),
                    labels=np.zeros(len(indices), np.int32),
                )

            examples.gather = gather_features  # type: ignore[method-assign]
        feed = train_feed(strategy, examples, order, plan, 0, 0)
        rates = np.full(num_steps, 1e-3, np.float32)

        def whole() -> None:
            state.steps.run(feed, rates)
            state.steps.read_metrics()

        fixed = next(iter(train_feed(strategy, examples, order, plan, 0, 0)))
        step = tf.function(
            lambda: strategy.run(state.steps._replica_step, args=(fixed, tf.constant(1e-3))),
            autograph=False,
        )

        def bare() -> None:
            for _ in range(num_steps):
                step()
            state.steps.read_metrics()

        return whole, bare

    print(f"{px} px, batch {batch_size}, TensorFlow {tf.__version__}, {os.cpu_count()} cores")
    print(
        f"{'trained':<22}{'ours':>8}{'bare step':>11}{'Keras fit':>11}{'/ bare':>8}{'/ Keras':>9}"
    )
    for name, train_from in WAYS.items():
        whole, bare = our_way(train_from, features=False)
        rows = {"ours": whole, "bare": bare, "keras": keras_way(train_from)}
        if train_from == "head":
            rows["kept"] = our_way(train_from, features=True)[0]
        speeds = _measure(rows, num_photos)
        _print(name, speeds["ours"], speeds["bare"], speeds["keras"])
        if "kept" in speeds:
            _print("head on kept features", speeds["kept"], None, speeds["keras"])
        keras.backend.clear_session()


def _measure(rows: dict[str, Callable[[], None]], num_photos: int) -> dict[str, float]:
    """Median images per second of each, rounds taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(FLAGS.num_rounds + 1):
        for name, run in rows.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: num_photos / statistics.median(values) for name, values in seconds.items()}


def _print(name: str, ours: float, bare: float | None, peer: float) -> None:
    beside = "" if bare is None else f"{bare:.0f}"
    ratio = "" if bare is None else f"{ours / bare:.2f}"
    print(
        f"{name:<22}{ours:>8.0f}{beside:>11}{peer:>11.0f}{ratio:>8}{ours / peer:>9.2f}", flush=True
    )


if __name__ == "__main__":
    app.run(main)
