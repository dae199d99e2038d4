"""Folds of one data set of real files."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]


def build_folds(out: Path, num_folds: int) -> list[Path]:
    """Builds 20 one-coloured photos of two classes in folds, with 3 photos for testing."""
    rng = np.random.default_rng(0)
    for folder in ("train", "test"):
        (out / folder).mkdir(parents=True)
    with open(out / "train.csv", "w", newline="") as labels:
        writer = csv.writer(labels)
        writer.writerow(["Id", "Category"])
        for index in range(20):
            _save(out / "train" / f"{index}.png", rng)
            writer.writerow([f"{index}.png", str(index % 2)])
    with open(out / "sample.csv", "w", newline="") as sample:
        writer = csv.writer(sample)
        writer.writerow(["Id", "Category"])
        for name in ("t2.png", "t0.png", "t1.png"):
            _save(out / "test" / name, rng)
            writer.writerow([name, "0"])
    folds = []
    for fold in range(num_folds):
        folds.append(out / f"fold-{fold}")
        flags = (
            "--source=csv",
            f"--images={out / 'train'}",
            f"--labels={out / 'train.csv'}",
            f"--test_images={out / 'test'}",
            f"--sample_submission={out / 'sample.csv'}",
            f"--num_folds={num_folds}",
            f"--fold={fold}",
            "--workers=1",
            f"--out={folds[-1]}",
        )
        command = [sys.executable, "-m", "tfrecords_builder", *flags]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    return folds


def _save(path: Path, rng: np.random.Generator) -> None:
    Image.new("RGB", (24, 24), tuple(rng.integers(0, 256, 3).tolist())).save(path)
