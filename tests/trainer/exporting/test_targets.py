import pytest

from trainer.errors import DataError
from trainer.exporting.targets import FORMATS, QUANTIZATIONS, plan_targets


def test_only_litert_is_quantized():
    targets = plan_targets(FORMATS, QUANTIZATIONS)
    assert [target.name for target in targets] == [
        "saved_model",
        "model.keras",
        "model.tflite",
        "model-float16.tflite",
        "model-dynamic.tflite",
        "model-int8.tflite",
        "model.onnx",
    ]


def test_every_file_has_a_name_of_its_own():
    names = [target.name for target in plan_targets(FORMATS * 2, QUANTIZATIONS * 2)]
    assert len(set(names)) == len(names) == 7


@pytest.mark.parametrize(
    ("formats", "quantizations"),
    [(["tflite"], ["none"]), ([], ["none"]), (["litert"], ["int4"]), (["onnx"], ["int8"])],
)
def test_what_cannot_be_made_is_told(formats, quantizations):
    with pytest.raises(DataError, match="--"):
        plan_targets(formats, quantizations)
