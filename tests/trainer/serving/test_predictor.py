"""Which file is served, and what of it is believed."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.serving.running import make_contract
from trainer.exporting.contract import ContractError, append_contract
from trainer.serving.predictor import LiteRtPredictor, ModelError, find_model, load_predictor


def test_a_folder_is_served_by_its_only_file_or_by_model_tflite(tmp_path: Path):
    (tmp_path / "model-int8.tflite").touch()
    assert find_model(str(tmp_path)).name == "model-int8.tflite"
    (tmp_path / "model.tflite").touch()
    assert find_model(str(tmp_path)).name == "model.tflite"
    (tmp_path / "model.tflite").rename(tmp_path / "other.onnx")
    with pytest.raises(ModelError, match=r"model-int8.tflite, other.onnx"):
        find_model(str(tmp_path))


def test_batches_of_any_size_answer_as_single_photos_do(colour_model: Path):
    predictor = LiteRtPredictor(colour_model, 1)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    alone = [predictor.predict(pixels[index : index + 1]).probabilities[0] for index in range(5)]
    np.testing.assert_allclose(predictor.predict(pixels).probabilities, alone, atol=1e-6)


def test_a_file_that_knows_other_classes_than_it_answers_is_refused(
    colour_model: Path, tmp_path: Path
):
    path = tmp_path / "model.tflite"
    contract = make_contract(classes=("red", "green"))
    model = colour_model.read_bytes()
    path.write_bytes(append_contract(model[: model.index(b"PK\x03\x04")], contract))
    with pytest.raises(ModelError, match="names 2 classes"):
        load_predictor(path, 1)


def test_a_file_without_a_contract_is_refused(colour_model: Path, tmp_path: Path):
    path = tmp_path / "model.tflite"
    shutil.copy(colour_model, path)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"PK\x05\x06")])
    with pytest.raises(ContractError, match="export the run again"):
        load_predictor(path, 1)
