"""Small recipes and data for tests."""

import subprocess
import sys
from pathlib import Path

from trainer.recipe import Recipe, Stage


def make_stage(**changes: object) -> Stage:
    fields = {
        "name": "finish",
        "image_px": 64,
        "batch_size": 4,
        "epochs": 2,
        "learning_rate": 0.1,
        "train_from": "all",
    }
    return Stage(**(fields | changes))


def make_recipe(*stages: Stage, **changes: object) -> Recipe:
    fields = {
        "name": "test",
        "summary": "for tests",
        "backbone": "Tiny",
        "stages": stages or (make_stage(),),
    }
    return Recipe(**(fields | changes))


def build_cars(out: Path, num_images: int = 60, val_fraction: float = 0.12) -> Path:
    """Builds rendered cars, by default 48 for training, 6 for validation, 6 without labels.

    Returns `out`.
    """
    flags = (
        "--source=synthetic",
        f"--num_images={num_images}",
        f"--val_fraction={val_fraction}",
        "--workers=1",
        f"--out={out}",
    )
    repository = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tfrecords_builder", *flags]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return out
