"""`python -m trainer.weights`, as a person calls it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.weights import written
from trainer.weights import WeightsError, load_weights
from trainer.weights.backbones import trunk_shapes
from trainer.weights.conversion import convert

B0 = "EfficientNetB0"
REPOSITORY = Path(__file__).resolve().parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer.weights", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)


@pytest.fixture
def keras_file(tmp_path: Path, b0) -> Path:
    return written.write_keras2_weights(tmp_path / "efficientnetb0_notop.h5", b0)


class TestConvert:
    def test_converted_file_loads_as_the_original_does(self, tmp_path: Path, keras_file) -> None:
        line = convert(str(keras_file), tmp_path / "b0.safetensors")
        before = load_weights(str(keras_file), B0, trunk_shapes(B0))
        after = load_weights(str(tmp_path / "b0.safetensors"), B0, trunk_shapes(B0))
        assert "309 tensors of EfficientNetB0; 0 of the source left out" in line
        assert all(np.array_equal(after.arrays[key], before.arrays[key]) for key in before.arrays)
        assert set(tmp_path.iterdir()) == {keras_file, tmp_path / "b0.safetensors"}

    def test_origin_is_on_record(self, tmp_path: Path, keras_file) -> None:
        from safetensors import safe_open

        convert(str(keras_file), tmp_path / "b0.safetensors", "efficientnet-b0")
        with safe_open(tmp_path / "b0.safetensors", framework="numpy") as file:
            metadata = file.metadata()
        assert metadata["backbone"] == B0
        assert metadata["source"] == keras_file.name
        assert len(metadata["source_sha256"]) == 64

    def test_part_of_a_trunk_is_not_converted(self, tmp_path: Path, b0) -> None:
        part = {key: values for key, values in b0.items() if not key.startswith("top_")}
        path = written.write_keras2_weights(tmp_path / "w.h5", part)
        with pytest.raises(WeightsError, match=r"holds 98% of EfficientNetB0; a whole trunk"):
            convert(str(path), tmp_path / "out.safetensors")
        with pytest.raises(WeightsError, match=r"5 of 309 variables .* top_conv/kernel"):
            convert(str(path), tmp_path / "out.safetensors", B0)

    def test_target_of_another_format_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=r"does not end in \.safetensors"):
            convert("unread.h5", tmp_path / "out.h5")

    def test_target_in_no_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="there is no folder"):
            convert("unread.h5", tmp_path / "x" / "out.safetensors")


class TestCommand:
    def test_convert_then_compare_then_inspect(self, tmp_path: Path, keras_file) -> None:
        target = str(tmp_path / "b0.safetensors")
        assert run("convert", str(keras_file), target).returncode == 0
        compared = run("compare", str(keras_file), target)
        assert (compared.returncode, compared.stderr) == (0, "")
        assert compared.stdout == "the same: 309 tensors are equal bit for bit\n"
        assert "backbone     EfficientNetB0" in run("inspect", target).stdout

    def test_every_tensor_is_listed_on_demand(self, keras_file) -> None:
        assert len(run("inspect", str(keras_file), "--every_tensor").stdout.splitlines()) > 309

    @pytest.mark.parametrize("arguments", [(), ("frobnicate",), ("compare", "one")])
    def test_wrong_usage_is_one_line(self, arguments) -> None:
        result = run(*arguments)
        assert result.returncode == 2
        assert result.stderr.startswith("error: cannot do ")
        assert "compare FILE FILE" in result.stderr
        assert result.stderr.count("\n") == 1

    def test_unreadable_file_is_one_line(self, tmp_path: Path) -> None:
        result = run("inspect", str(tmp_path / "missing.h5"))
        assert result.returncode == 2
        assert result.stderr.startswith("error: there is no 'missing.h5'")

    def test_package_is_imported_without_tensorflow(self) -> None:
        heavy = "{'tensorflow', 'keras', 'h5py'}"
        code = f"import sys, trainer.weights; print(sorted({heavy} & set(sys.modules)))"
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True
        )
        assert result.stdout == "[]\n"
