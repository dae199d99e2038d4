"""One small data set and run folders with weights that nobody trained, for all that uses runs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.making import build_cars, make_recipe, make_stage
from tfrecords_builder.manifest import load_manifest
from trainer.recipe import Recipe
from trainer.run_record import RunSettings, make_run_record, write_run_record

IMAGE_PX = 32


@pytest.fixture(scope="session")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """78 rendered cars for training, 30 for validation, 12 without labels."""
    return build_cars(tmp_path_factory.mktemp("cars") / "data", num_images=120, val_fraction=0.3)


def tiny_recipe(batch_size: int = 8, backbone: str = "Tiny") -> Recipe:
    stages = (
        make_stage(name="first", image_px=24, batch_size=batch_size, epochs=1),
        make_stage(name="last", image_px=IMAGE_PX, batch_size=batch_size, epochs=1),
    )
    return make_recipe(*stages, backbone=backbone)


@pytest.fixture(scope="session")
def fresh_weights(cars: Path) -> Callable[..., dict[str, np.ndarray]]:
    """Makes random weights of a backbone; statistics too, as if they had been learned."""
    import keras

    from trainer.network.build import build_network

    def make(seed: int, backbone: str = "Tiny", data: Path = cars) -> dict[str, np.ndarray]:
        keras.utils.set_random_seed(seed)
        num_classes = len(load_manifest(str(data)).classes)
        network = build_network(tiny_recipe(backbone=backbone), num_classes, IMAGE_PX)
        rng = np.random.default_rng(seed)
        arrays = {name: variable.value.numpy() for name, variable in network.variables().items()}
        for name, array in arrays.items():
            if name.endswith("moving_mean"):
                arrays[name] = rng.normal(scale=0.1, size=array.shape).astype(np.float32)
            elif name.endswith("moving_variance"):
                arrays[name] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
        return arrays

    return make


@pytest.fixture
def write_run(tmp_path: Path, cars: Path) -> Callable[..., str]:
    """Writes a finished run's folder below the test's own and returns it."""
    from trainer.engine.tensor_files import write_tensors

    def write(
        name: str,
        arrays: dict[str, np.ndarray],
        data: Path = cars,
        batch_size: int = 8,
        backbone: str = "Tiny",
    ) -> str:
        folder = tmp_path / name
        (folder / "weights").mkdir(parents=True)
        manifest = load_manifest(str(data))
        settings = RunSettings(
            recipe=tiny_recipe(batch_size, backbone),
            seed=0,
            batch_scaling="fixed",
            data_fingerprint=manifest.fingerprint,
        )
        record = make_run_record(settings, manifest, str(data), "OneDevice", 1)
        write_run_record(str(folder), record | {"run_id": name, "finished": True, "history": []})
        for file, image_px in (
            ("model.safetensors", IMAGE_PX),
            ("weights/00-first-epoch001.safetensors", 24),
        ):
            metadata = {
                "classes": json.dumps(manifest.classes),
                "backbone": backbone,
                "image_px": str(image_px),
            }
            write_tensors(str(folder / file), arrays, metadata)
        return str(folder)

    return write
