"""Weights that are not there are told of before anything heavy is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.making import make_recipe
from trainer.initial_weights import check_initial_weights
from trainer.weights import WeightsError
from trainer.weights.loading import open_weights

REPOSITORY = Path(__file__).resolve().parents[2]


def check(source: str, run_dir: Path, backbone: str = "EfficientNetV2B0") -> None:
    check_initial_weights(make_recipe(weights=source, backbone=backbone), str(run_dir))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("imagnet", "there is no 'imagnet' here.*imagenet or noisy-student"),
        ("nowhere/b5.h5", "there is no folder nowhere"),
        ("{}/b5.h5", "there is no 'b5.h5' in "),
        ("{}/page.h5", "a web page: the download was refused"),
        ("{}/empty.h5", "is empty"),
        ("{}", "is a folder with empty.h5, page.h5 in it"),
        ("~nobody_of_this_name/b5.h5", "there is no folder"),
        ("noisy-student", "there are no noisy-student weights of EfficientNetV2B0"),
    ],
)
def test_what_cannot_be_had_is_told_with_the_words_of_later(
    source: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "page.h5").write_text("<!DOCTYPE html>")
    (tmp_path / "empty.h5").touch()
    source = source.format(tmp_path)
    with pytest.raises(WeightsError, match=message) as told:
        check(source, tmp_path / "run")
    with pytest.raises(WeightsError) as later, open_weights(source, "EfficientNetV2B0"):
        pass
    assert str(told.value) == str(later.value)


def test_nobody_publishes_weights_of_our_own_network(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no imagenet weights of 'Tiny'"):
        check("imagenet", tmp_path, backbone="Tiny")


@pytest.mark.parametrize("source", ["none", "imagenet", "gs://bucket/b5.h5", "{}/run"])
def test_what_may_be_there_is_no_error(source: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").write_bytes(bytes(8) + b"{}")
    check(source.format(tmp_path), tmp_path / "new")


@pytest.mark.parametrize("name", ["checkpoints/000000001-00-0000.safetensors", "model.safetensors"])
def test_a_run_that_has_learnt_something_does_not_need_its_weights(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    check("nowhere/b5.h5", tmp_path)


def test_a_bucket_is_not_asked() -> None:
    check_initial_weights(make_recipe(weights="nowhere/b5.h5"), "gs://bucket/run")


def test_looking_loads_neither_tensorflow_nor_keras() -> None:
    code = (
        "import sys\n"
        "from tests.trainer.making import make_recipe\n"
        "from trainer.initial_weights import check_initial_weights\n"
        "check_initial_weights(make_recipe(weights='imagenet', backbone='EfficientNetB5'), 'run')\n"
        "assert not {'tensorflow', 'keras', 'h5py'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, timeout=60)
