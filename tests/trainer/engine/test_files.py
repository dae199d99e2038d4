"""Tensor files and checkpoints: whole or not at all, and what is broken is found."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.making import make_recipe
from trainer.engine.checkpoints import Checkpoints
from trainer.engine.tensor_files import read_tensors, write_tensors
from trainer.engine.weight_files import WeightFiles
from trainer.errors import DataError, TrainingError
from trainer.plan import plan_stages
from trainer.progress import Progress

ARRAYS = {
    "scalar": np.array(7, np.int64),
    "kernel": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "empty": np.zeros((0, 3), np.float32),
}
METADATA = {"progress": '{"step": 12, "stage": 1}'}


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    path = str(tmp_path / "a.safetensors")
    write_tensors(path, ARRAYS, {"note": "é"})
    arrays, metadata = read_tensors(path)
    assert metadata["note"] == "é"
    assert arrays.keys() == ARRAYS.keys()
    for name, array in arrays.items():
        assert array.shape == ARRAYS[name].shape
        assert array.dtype == ARRAYS[name].dtype
        np.testing.assert_array_equal(array, ARRAYS[name])
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_equal_contents_give_equal_files(tmp_path: Path) -> None:
    metadata = {f"note {number}": "x" for number in range(20)}
    for name in ("a", "b"):
        write_tensors(str(tmp_path / name), ARRAYS, metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@given(position=st.integers(0, 10**9), flip=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_any_changed_byte_is_found(
    position: int, flip: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("flip") / "a.safetensors"
    write_tensors(str(path), ARRAYS, METADATA)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= flip
    path.write_bytes(content)
    try:
        arrays, metadata = read_tensors(str(path))
    except DataError:
        return
    # Only blanks between the header and the tensors mean nothing.
    assert metadata == METADATA
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize("length", [0, 4, 30, -1])
def test_a_file_that_was_cut_short_is_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(str(path), ARRAYS, {})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match="cannot be read"):
        read_tensors(str(path))


def progress_at(step: int, stage: int = 0) -> Progress:
    return dataclasses.replace(Progress(), step=step, stage=stage)


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), num_kept=2)
    for step in (1, 2, 10):
        checkpoints.save({"w": np.full(3, step, np.float32)}, progress_at(step))
    checkpoints.wait()
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    newest = checkpoints.load_newest()
    assert newest is not None
    assert newest[1].step == 10
    assert newest[0]["w"][0] == 10


def break_checkpoint(run_dir: Path, step: int) -> None:
    (path,) = (run_dir / "checkpoints").glob(f"{step:09d}-*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])


def test_what_is_saved_behind_a_broken_checkpoint_is_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), num_kept=3)
    for step in (50, 90, 100):
        checkpoints.save(ARRAYS, progress_at(step))
    checkpoints.wait()
    break_checkpoint(tmp_path, 90)
    break_checkpoint(tmp_path, 100)
    again = Checkpoints(str(tmp_path), num_kept=2)
    newest = again.load_newest()
    assert newest is not None
    assert newest[1].step == 50
    for step in (60, 70):
        again.save(ARRAYS, progress_at(step))
    again.wait()
    assert [path.name[:9] for path in sorted((tmp_path / "checkpoints").iterdir())] == [
        "000000060",
        "000000070",
    ]


def test_a_run_whose_checkpoints_are_all_broken_does_not_begin_anew(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path))
    for step in (1, 2):
        checkpoints.save(ARRAYS, progress_at(step))
    checkpoints.wait()
    break_checkpoint(tmp_path, 1)
    break_checkpoint(tmp_path, 2)
    with pytest.raises(DataError, match="none of the 2 checkpoints"):
        checkpoints.load_newest()


def test_a_checkpoint_that_cannot_be_reached_is_not_passed_over(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path))
    checkpoints.save(ARRAYS, progress_at(1))
    checkpoints.wait()
    (tmp_path / "checkpoints" / "000000002-00-0000.safetensors").mkdir()
    with pytest.raises(DataError, match=r"000000002-.* cannot be read"):
        checkpoints.load_newest()


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "000000001-00-0000.safetensors.part").write_bytes(b"half")
    checkpoints = Checkpoints(str(tmp_path))
    checkpoints.save(ARRAYS, progress_at(2))
    checkpoints.wait()
    assert [path.name for path in folder.iterdir()] == ["000000002-00-0000.safetensors"]


def test_best_weights_on_a_full_disk_are_a_clear_end(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("a file where the folder should be")
    recipe = make_recipe()
    (plan,) = plan_stages(recipe, num_examples=8, num_replicas=1)
    files = WeightFiles(str(tmp_path), recipe, SimpleNamespace(classes=("a", "b")), writes=True)
    state = SimpleNamespace(weights=lambda: ARRAYS)
    with pytest.raises(TrainingError, match=r"cannot write .*epoch003.*make room"):
        files.save(plan, state, SimpleNamespace(stage="finish", epoch=3))


def test_the_next_stage_is_newer_than_the_last_step_of_the_one_before(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path))
    checkpoints.save({}, progress_at(5))
    checkpoints.save({}, dataclasses.replace(Progress(), stage=1, steps_before=5))
    checkpoints.wait()
    newest = checkpoints.load_newest()
    assert newest is not None
    assert newest[1].stage == 1


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert Checkpoints(str(tmp_path)).load_newest() is None


def test_workers_that_are_not_chief_write_nothing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), writes=False)
    checkpoints.save({}, Progress())
    checkpoints.wait()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_clear_end(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    checkpoints = Checkpoints(str(tmp_path))
    checkpoints.save({}, Progress())
    with pytest.raises(TrainingError, match="cannot write a checkpoint") as caught:
        checkpoints.wait()
    assert caught.value.exit_code == 3
