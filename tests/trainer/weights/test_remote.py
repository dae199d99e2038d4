"""Copies of remote weights; a local folder stands in for the bucket, through the same calls."""

from pathlib import Path

import pytest

from trainer.weights import WeightsError
from trainer.weights.remote import local_copy

pytest.importorskip("tensorflow")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    for name in ("model.ckpt.index", "model.ckpt.data-00000-of-00001", "model.ckpt.meta"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_single_file_is_copied(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"x")
    with local_copy(str(tmp_path / "w.h5")) as path:
        assert path.name == "w.h5"
        assert path.read_bytes() == b"x"
    assert not path.exists()


def test_checkpoint_folder_without_its_graph(checkpoint: Path) -> None:
    with local_copy(str(checkpoint) + "/") as path:
        names = {entry.name for entry in path.iterdir()}
    assert names == {"model.ckpt.index", "model.ckpt.data-00000-of-00001"}


def test_checkpoint_by_its_prefix(checkpoint: Path) -> None:
    with local_copy(str(checkpoint / "model.ckpt")) as path:
        assert (path / "model.ckpt.index").read_text() == "model.ckpt.index"


def test_run_folder_gives_its_weights_only(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"x")
    with local_copy(str(checkpoint)) as path:
        assert path.name == "model.safetensors"


def test_folder_without_weights_says_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with (
        pytest.raises(WeightsError, match=r"a folder with notes\.txt in it"),
        local_copy(str(tmp_path)),
    ):
        pass


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is nothing at"), local_copy(str(tmp_path / "x")):
        pass
