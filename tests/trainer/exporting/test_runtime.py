"""The process that runs a file."""

import numpy as np
import pytest

from trainer.exporting import runtime
from trainer.exporting.runtime import ExportError, peak_memory_mb, run_in_own_process


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory):
    """An ONNX file whose probabilities are the pixels' means."""
    from onnx import TensorProto, helper, save

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels"], ["probabilities"], axes=[1, 2], keepdims=0),
        ],
        "means",
        [value("image", TensorProto.UINT8, ["batch", 100, 100, 3])],
        [value("probabilities", TensorProto.FLOAT, ["batch", 3])],
    )
    path = tmp_path_factory.mktemp("identity") / "model.onnx"
    opset = helper.make_opsetid("", 17)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    return path


def test_memory_does_not_grow_with_the_photos_of_the_proof(identity):
    one, many = (
        run_in_own_process(identity, np.full((num, 100, 100, 3), 7, np.uint8), 1)
        for num in (1, 1000)
    )
    assert many.probabilities.shape == (1000, 3)
    assert (many.probabilities == 7).all()
    assert one.peak_memory_mb is not None
    assert many.peak_memory_mb is not None
    assert many.peak_memory_mb < one.peak_memory_mb + 10, "the photos have 30 MB"


def test_a_file_that_takes_too_long_is_told(identity, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runtime, "_START_SECS", 0.001)
    monkeypatch.setattr(runtime, "_PHOTO_SECS", 0)
    with pytest.raises(ExportError, match="has not answered 1 photos"):
        run_in_own_process(identity, np.zeros((1, 100, 100, 3), np.uint8), 1)


def test_a_system_that_tells_no_memory_is_no_error(tmp_path):
    assert peak_memory_mb(tmp_path / "status") is None
