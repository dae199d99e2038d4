import subprocess
import sys
from pathlib import Path

import pytest

from trainer.errors import DataError
from trainer.exporting.targets import FORMATS, QUANTIZATIONS, plan_targets, require_runtimes
from trainer.installed import NotInstalledError

REPOSITORY = Path(__file__).resolve().parents[3]
WITHOUT = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from tfrecords_builder import command_line
from trainer import export
export.define_flags()
command_line.run(export.main)
"""


def export_without(modules: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """The command, where modules cannot be imported."""
    command = [sys.executable, "-c", WITHOUT, modules, *flags]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)


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


def test_what_is_not_installed_is_needed_by_its_format_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    require_runtimes(plan_targets(["litert", "keras", "saved_model"], ["none"]))
    with pytest.raises(NotInstalledError, match="--format=onnx needs onnxruntime, which"):
        require_runtimes(plan_targets(FORMATS, ["none"]))


def test_a_missing_runtime_is_told_before_tensorflow_starts():
    done = export_without(
        "tensorflow,ai_edge_litert", "--run_dir=run", "--data=data", "--format=litert"
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --format=litert needs ai_edge_litert")


@pytest.mark.parametrize(
    "flags", [("--run_dir=gs://bucket/run",), ("--run_dir=run", "--out=gs://bucket/out")]
)
def test_a_bucket_is_no_place_for_the_files(flags):
    """Else they would go to a local folder named `gs:`."""
    done = export_without("tensorflow", "--data=data", *flags)
    assert done.returncode == 2
    assert "need a local folder" in done.stderr


@pytest.mark.parametrize("below", ["", "/below"])
def test_a_place_that_cannot_be_written_to_is_told_first(tmp_path: Path, below: str):
    file = tmp_path / "file"
    file.touch()
    done = export_without("tensorflow", "--data=data", "--run_dir=run", f"--out={file}{below}")
    assert done.returncode == 2
    assert f"{file} is no folder that can be written to" in done.stderr
