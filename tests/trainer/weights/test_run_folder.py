"""Weights of an earlier run."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.trainer.weights.written import random_arrays
from trainer.weights import WeightsError, load_weights

# A network of no published family: an earlier run is matched by its own names alone.
SHAPES = {
    "stem_conv/kernel": (3, 3, 3, 4),
    "block1a_project_conv/kernel": (3, 3, 4, 4),
    "head_logits/kernel": (4, 2),
}


def write_run(folder: Path, arrays, **metadata: str) -> Path:
    folder.mkdir()
    save_file(arrays, folder / "model.safetensors", metadata or None)
    return folder


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    return random_arrays(SHAPES)


def test_trunk_head_and_class_names_come_back(tmp_path: Path, arrays) -> None:
    run = write_run(
        tmp_path / "run", arrays, classes=json.dumps(["Kalina", "Niva"]), backbone="Tiny"
    )
    loaded = load_weights(str(run), "Tiny", SHAPES)
    assert loaded.arrays.keys() == arrays.keys()
    assert all(np.array_equal(loaded.arrays[key], arrays[key]) for key in arrays)
    assert loaded.classes == ("Kalina", "Niva")
    assert "Tiny" in loaded.description


def test_head_follows_the_names_of_the_classes(tmp_path: Path, arrays) -> None:
    run = write_run(tmp_path / "run", arrays, classes=json.dumps(["Kalina", "Niva"]))
    swapped = load_weights(str(run), "Tiny", SHAPES, classes=("Niva", "Kalina"))
    expected = arrays["head_logits/kernel"][:, ::-1]
    np.testing.assert_array_equal(swapped.arrays["head_logits/kernel"], expected)
    others = load_weights(str(run), "Tiny", SHAPES, classes=("Ford", "Ferrari"))
    assert others.not_filled == ("head_logits/kernel",)


def test_file_itself_may_be_named(tmp_path: Path, arrays) -> None:
    run = write_run(tmp_path / "run", arrays)
    loaded = load_weights(str(run / "model.safetensors"), "Tiny", SHAPES)
    assert loaded.classes is None


def test_half_precision_becomes_float32(tmp_path: Path, arrays) -> None:
    run = write_run(
        tmp_path / "run", {key: values.astype(np.float16) for key, values in arrays.items()}
    )
    loaded = load_weights(str(run), "Tiny", SHAPES)
    assert {values.dtype for values in loaded.arrays.values()} == {np.dtype(np.float32)}


def test_integers_are_refused(tmp_path: Path, arrays) -> None:
    run = write_run(
        tmp_path / "run", {**arrays, "stem_conv/kernel": np.zeros((3, 3, 3, 4), np.int8)}
    )
    with pytest.raises(WeightsError, match="'stem_conv/kernel' as int8"):
        load_weights(str(run), "Tiny", SHAPES)


def test_file_cut_short(tmp_path: Path, arrays) -> None:
    file = write_run(tmp_path / "run", arrays) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_weights(str(tmp_path / "run"), "Tiny", SHAPES)


def test_damaged_class_names(tmp_path: Path, arrays) -> None:
    run = write_run(tmp_path / "run", arrays, classes="[oops")
    with pytest.raises(WeightsError, match="damaged class names"):
        load_weights(str(run), "Tiny", SHAPES)


def test_folder_without_weights_says_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(WeightsError, match=r"folder with notes\.txt in it"):
        load_weights(str(tmp_path), "Tiny", SHAPES)


def test_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no 'run7' in .*check the name"):
        load_weights(str(tmp_path / "run7"), "Tiny", SHAPES)
