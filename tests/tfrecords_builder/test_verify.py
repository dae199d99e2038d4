"""`verify` finds whatever happens to a data folder."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tfrecords_builder.photos import write_photos
from tfrecords_builder.build import BuildSettings, build
from tfrecords_builder.manifest import load_manifest
from tfrecords_builder.sources.folder import FolderSource
from tfrecords_builder.verify import ShardTask, check_shard, find_problems


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    write_photos(folder / "photos", {"a": 6, "b": 6})
    build(FolderSource(images=str(folder / "photos")), BuildSettings(out=str(folder / "out")))
    return folder / "out"


@pytest.fixture
def data(built: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    for path in built.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def shard_tasks(data: Path) -> list[ShardTask]:
    manifest = load_manifest(str(data))
    return [
        ShardTask(
            path=str(data / shard.file),
            shard=shard,
            num_classes=len(manifest.classes),
            labelled=split.labelled,
        )
        for split in manifest.splits.values()
        for shard in split.shards
    ]


def test_a_fresh_build_has_no_problems(data: Path) -> None:
    assert find_problems(str(data)) == []


def test_every_flipped_byte_is_found(data: Path) -> None:
    rng = random.Random(0)
    for task in shard_tasks(data):
        path = Path(task.path)
        content = path.read_bytes()
        for _ in range(100):
            position, flip = rng.randrange(len(content)), rng.randrange(1, 256)
            spoilt = bytearray(content)
            spoilt[position] ^= flip
            path.write_bytes(spoilt)
            assert check_shard(task).problems, f"byte {position} of {path.name}"
        path.write_bytes(content)
        assert not check_shard(task).problems


def edit_manifest(data: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = data / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


def remove_shard(data: Path) -> None:
    next(data.glob("dataset-val*")).unlink()


def truncate_shard(data: Path) -> None:
    path = next(data.glob("dataset-val*"))
    path.write_bytes(path.read_bytes()[:-1])


def swap_shards(data: Path) -> None:
    train, val = next(data.glob("dataset-train*")), next(data.glob("dataset-val*"))
    train_bytes = train.read_bytes()
    train.write_bytes(val.read_bytes())
    val.write_bytes(train_bytes)


def change_label_names(data: Path) -> None:
    (data / "label.labels.txt").write_text("b\na\n")


def remove_features(data: Path) -> None:
    (data / "features.json").unlink()


def change_counts(data: Path) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["splits"]["train"]["class_counts"] = [4, 6]

    edit_manifest(data, edit)


def change_classes(data: Path) -> None:
    edit_manifest(data, lambda manifest: manifest.update(classes=["b", "a"]))


def repeat_a_split(data: Path) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["splits"]["test"] = manifest["splits"]["val"]

    edit_manifest(data, edit)


def flip_a_byte(data: Path) -> None:
    path = next(data.glob("dataset-val*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    remove_shard: "No such file",
    truncate_shard: "bytes where the manifest says",
    flip_a_byte: "SHA-256 differs",
    swap_shards: "SHA-256 differs",
    change_label_names: "label.labels.txt does not fit",
    remove_features: "features.json is missing",
    change_counts: "counts differ",
    change_classes: "fingerprint does not fit",
    repeat_a_split: "is in 2 records",
}


@pytest.mark.parametrize(("spoil", "words"), DAMAGES.items())
def test_every_kind_of_damage_is_named(
    data: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(data)
    assert any(words in problem for problem in find_problems(str(data)))


@pytest.mark.parametrize("spoil", DAMAGES)
def test_the_advice_mends_every_kind_of_damage(
    built: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(built, data)
    spoil(data)
    for problem in find_problems(str(data)):
        (data / problem.split(":")[0]).unlink(missing_ok=True)
    source = FolderSource(images=str(built.parent / "photos"))
    build(source, BuildSettings(out=str(data)))
    assert find_problems(str(data)) == []


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tfrecords_builder.verify", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("flags", [["{}"], ["--workers", "2", "{}"], ["--data", "{}"]])
def test_the_folder_may_stand_alone_or_behind_its_flag(data: Path, flags: list[str]) -> None:
    done = run(*(flag.format(data) for flag in flags))
    assert (done.returncode, done.stdout) == (
        0,
        f"{data}: all 12 photos in 2 files are as written\n",
    )


def test_the_command_names_the_damage_and_what_to_do(data: Path) -> None:
    truncate_shard(data)
    done = run(str(data))
    assert done.returncode == 2
    assert "bytes where the manifest says" in done.stdout
    assert "delete the record files named above and build again" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["one", "two"], ["{}/manifest.json"]])
def test_what_is_no_data_folder_is_one_clear_line(data: Path, arguments: list[str]) -> None:
    done = run(*(argument.format(data) for argument in arguments))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
