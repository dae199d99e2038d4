"""One small data set, four logical CPU devices and one way to start runs, for all engine tests."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.making import build_cars, make_recipe, make_stage
from tfrecords_builder.manifest import Manifest, load_manifest
from trainer.augment.config import Augmentation
from trainer.engine.run import InitialWeights, Run, RunOptions
from trainer.engine.stage_run import HostCall
from trainer.plan import StagePlan, plan_stages
from trainer.progress import EpochRecord, Progress, total_seconds
from trainer.recipe import Recipe

NUM_DEVICES = 4
AUGMENTATION = Augmentation(crop_area=(0.5, 1.0), mirror=0.5, brightness=0.2)


def split_cpu_once() -> None:
    """Makes logical devices; they must exist before anything else touches TensorFlow."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    if tf.config.get_logical_device_configuration(cpu) is None:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * NUM_DEVICES
        )


split_cpu_once()


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_cars(tmp_path_factory.mktemp("engine") / "data")


@pytest.fixture(scope="session")
def manifest(data_dir: Path) -> Manifest:
    return load_manifest(str(data_dir))


@pytest.fixture(scope="session")
def one_device() -> tf.distribute.Strategy:
    return tf.distribute.OneDeviceStrategy("/cpu:0")


@functools.cache
def mirrored(num_replicas: int) -> tf.distribute.Strategy:
    """One strategy a process, as in a run: a second one would count its collectives from 100 again,
    and TensorFlow keeps the shapes of those that were (TensorFlow 2.21)."""
    if num_replicas == 1:
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    return tf.distribute.MirroredStrategy([f"/cpu:{index}" for index in range(num_replicas)])


def two_stages(**changes: object) -> Recipe:
    """Head, then the upper part at another size with BatchNorm frozen, EMA and clipping."""
    shared = {"batch_size": 20, "image_px": 32, "augmentation": AUGMENTATION, "learning_rate": 3e-3}
    return make_recipe(
        # An odd batch: two replicas fill up the share of one.
        make_stage(
            **shared | {"name": "head", "epochs": 2, "train_from": "head", "batch_size": 19}
        ),
        make_stage(
            **shared
            | {
                "name": "upper",
                "epochs": 2,
                "image_px": 40,
                "train_from": "block4a",
                "batch_size": 16,
                "schedule": "cosine",
                "ema_decay": 0.9,
                "clip_norm": 1.0,
                "weight_decay": 0.01,
                "label_smoothing": 0.1,
                "layer_decay": 0.8,
                "plateau_patience": 1,
            }
        ),
        **changes,
    )


@dataclass
class StopAfter:
    """Stands in for SIGTERM: says stop once so many host calls were made; never if None."""

    num_calls: int | None = None

    def reason(self, secs_to_finish: float) -> str | None:
        if self.num_calls is None:
            return None
        self.num_calls -= 1
        return "test" if self.num_calls <= 0 else None


@dataclass
class Recorder:
    """Observer that remembers what it was told."""

    losses: list[float] = field(default_factory=list)
    records: list[EpochRecord] = field(default_factory=list)
    seconds: list[dict[str, float]] = field(default_factory=list)

    def on_steps(self, plan: StagePlan, progress: Progress, call: HostCall) -> None:
        self.losses.append(call.metrics.loss)

    def on_epoch(self, plan: StagePlan, progress: Progress, record: EpochRecord) -> None:
        self.records.append(replace(record, seconds=0.0))
        self.seconds.append(total_seconds(progress.seconds))


@pytest.fixture(scope="session")
def start_run(data_dir: Path, manifest: Manifest) -> Callable[..., Progress]:
    """Starts (or goes on with) a run; returns the progress, or raises what the run raises."""

    def start(
        run_dir: Path,
        recipe: Recipe | None = None,
        strategy: tf.distribute.Strategy | None = None,
        stop_after: int | None = None,
        recorder: Recorder | None = None,
        batch_scaling: str = "fixed",
        initial_weights: InitialWeights = lambda expected: {},
        data: Manifest = manifest,
        stop: object | None = None,
        **options: object,
    ) -> Progress:
        strategy = strategy or mirrored(1)
        recipe = recipe or two_stages()
        plans = plan_stages(
            recipe,
            num_examples=data.splits["train"].num_examples,
            num_replicas=strategy.num_replicas_in_sync,
            batch_scaling=batch_scaling,
        )
        return Run(
            strategy=strategy,
            recipe=recipe,
            plans=plans,
            manifest=data,
            seed=1,
            options=RunOptions(
                **{"run_dir": str(run_dir), "data_dir": str(data_dir), "cache": "memory"} | options
            ),
            initial_weights=initial_weights,
            stop=stop or StopAfter(stop_after),
            observers=(recorder or Recorder(),),
        ).run()

    return start


@pytest.fixture(scope="session")
def undisturbed(
    start_run: Callable[..., Progress], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Recorder]:
    """A run of `two_stages` on one device from start to end."""
    run_dir, recorder = tmp_path_factory.mktemp("undisturbed"), Recorder()
    start_run(run_dir, recorder=recorder)
    return run_dir, recorder


def model_of(run_dir: Path) -> dict[str, np.ndarray]:
    """The published weights of a run."""
    from trainer.engine.tensor_files import read_tensors
    from trainer.run_record import MODEL_FILE

    return read_tensors(str(run_dir / MODEL_FILE))[0]


def assert_same_weights(
    run_dir: Path, expected: Path, rtol: float = 0.0, atol: float = 0.0
) -> None:
    ours, theirs = model_of(run_dir), model_of(expected)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=rtol, atol=atol, err_msg=name)
