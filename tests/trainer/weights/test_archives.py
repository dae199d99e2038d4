"""Archives of checkpoints: honest, damaged and hostile ones."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.weights import tf1
from tests.trainer.weights.written import random_arrays
from trainer.weights import WeightsError, archives, load_weights
from trainer.weights.archives import unpack_checkpoint
from trainer.weights.backbones import trunk_shapes

B0 = "EfficientNetB0"


def write_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def plain(name: str, content: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), content


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "unpacked").mkdir()
    return tmp_path / "unpacked"


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_published_form_is_loaded(tmp_path: Path, suffix) -> None:
    pytest.importorskip("tensorflow")
    arrays = random_arrays(tf1.variable_shapes(0))
    top = tmp_path / "noisy_student_efficientnet-b0"
    tf1.write_checkpoint(top / "model.ckpt", arrays)
    (top / "model.ckpt.meta").write_bytes(b"a graph")
    path = tmp_path / f"{top.name}{suffix}"
    with tarfile.open(path, "w:gz" if suffix == ".tar.gz" else "w") as archive:
        archive.add(top, top.name)
    loaded = load_weights(str(path), B0, trunk_shapes(B0))
    expected = arrays["efficientnet-b0/stem/conv2d/kernel"]
    np.testing.assert_array_equal(loaded.arrays["stem_conv/kernel"], expected)
    assert path.name in loaded.description


def test_only_files_of_a_checkpoint_are_unpacked(tmp_path: Path, folder: Path) -> None:
    names = ("m/model.ckpt.index", "m/model.ckpt.data-00000-of-00001", "m/checkpoint")
    others = ("m/model.ckpt.meta", "m/readme.sh")
    unpack_checkpoint(write_tar(tmp_path / "a.tar", *map(plain, names + others)), folder)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        *names
    }


@pytest.mark.parametrize(
    "name", ["../x.index", "m/../../x.index", "/tmp/x.index", "..\\x.index", "m/.."]
)
def test_member_outside_of_the_archive_is_refused(tmp_path: Path, folder: Path, name) -> None:
    path = write_tar(tmp_path / "a.tar", plain("m/y.index"), plain(name))
    with pytest.raises(WeightsError, match="outside of the archive's own folder"):
        unpack_checkpoint(path, folder)
    assert not (tmp_path / "x.index").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(tmp_path: Path, folder: Path, kind) -> None:
    path = write_tar(tmp_path / "a.tar", special("m/x.index", kind, "/etc/passwd"))
    with pytest.raises(WeightsError, match="is a link or a device"):
        unpack_checkpoint(path, folder)
    assert list(folder.iterdir()) == []


def test_bomb_is_met_before_it_is_written(tmp_path: Path, folder: Path) -> None:
    path = write_tar(tmp_path / "a.tar.gz", plain("m/x.data-0", bytes(8 << 20)))
    with pytest.raises(WeightsError, match="no honest checkpoint"):
        unpack_checkpoint(path, folder)
    assert list(folder.iterdir()) == []


def test_bomb_in_a_file_that_is_passed_over_is_met_too(tmp_path: Path, folder: Path) -> None:
    path = write_tar(tmp_path / "a.tar.gz", plain("m/graph.meta", bytes(8 << 20)))
    with pytest.raises(WeightsError, match="no honest checkpoint"):
        unpack_checkpoint(path, folder)


def test_too_many_files_are_refused(tmp_path: Path, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    path = write_tar(tmp_path / "a.tar", *(plain(f"m/{n}.index") for n in range(4)))
    with pytest.raises(WeightsError, match="at most 3 files"):
        unpack_checkpoint(path, folder)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_archive_cut_short(tmp_path: Path, folder: Path, suffix) -> None:
    content = np.random.default_rng(0).bytes(100_000)
    path = write_tar(tmp_path / f"a{suffix}", plain("m/x.data-0", content))
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(WeightsError, match="cut short"):
        unpack_checkpoint(path, folder)


def test_archive_without_a_checkpoint(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", plain("m/readme.txt"))
    with pytest.raises(WeightsError, match="holds no TensorFlow checkpoint"):
        load_weights(str(path), B0, trunk_shapes(B0))
