"""Runs in a folder: the table says what run.json says, and nothing that is needed is deleted."""

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainer.errors import RunFolderError
from trainer.runs import compare_text, list_text
from trainer.stored_runs import deletable, find_runs

REPOSITORY = Path(__file__).resolve().parents[2]


def make_record(finished: bool = True, **changes: Any) -> dict[str, Any]:
    history = [
        epoch("head", 1, 10, 0.4, True),
        epoch("head", 2, 20, 0.3, False),
        epoch("finish", 0, 20, 0.5, True),
        epoch("finish", 1, 30, 0.625, True),
    ]
    return {
        "schema_version": 1,
        "run_id": "test-1",
        "command": ["task.py", "--data=data"],
        "settings": {
            "recipe": {
                "name": "test",
                "stages": [
                    {"name": name, "image_px": 32, "train_from": "all", "learning_rate": 0.1}
                    | {"epochs": 2}
                    for name in ("head", "finish")
                ],
            },
            "seed": 0,
            "batch_scaling": "fixed",
            "data_fingerprint": "f",
        },
        "data": {"dir": "data", "name": "photos", "classes": ["a", "b"], "splits": {"train": 8}},
        "devices": {"strategy": "one", "num_replicas": 1},
        "versions": {"python": "3.11"},
        "num_starts": 3,
        "finished": finished,
        "history": history,
        "seconds": {"head": {"step": 60.0, "build": 3.5}, "finish": {"step": 6.5}},
    } | changes


def epoch(stage: str, number: int, step: int, accuracy: float, is_best: bool) -> dict[str, Any]:
    return {
        "stage": stage,
        "epoch": number,
        "step": step,
        "learning_rate": 0.1,
        "train_loss": None if number == 0 else 1.0,
        "train_accuracy": None if number == 0 else accuracy,
        "val_loss": 1.0,
        "val_accuracy": accuracy,
        "is_best": is_best,
        "seconds": 1.0,
    }


FILES = (
    "model.safetensors",
    "evaluation-val.json",
    "checkpoints/000000030-02-0000.safetensors",
    "checkpoints/000000030-02-0000.safetensors.part",
    "weights/00-head-epoch001.safetensors",
    "weights/00-head-epoch002.safetensors",
    "weights/01-finish-epoch001.safetensors",
    "tensorboard/train/events",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, record in (
        ("good", make_record()),
        ("deeper/working", make_record(finished=False)),
    ):
        folder = tmp_path / name
        for file in FILES:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text('{"top_1": 0.625}')
        (folder / "run.json").write_text(json.dumps(record))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text('{"schema_version": 99}')
    return tmp_path


def runs(*arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "trainer.runs", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_table_says_what_the_records_say(root: Path) -> None:
    header, working, good = list_text(find_runs(str(root)), str(root)).splitlines()
    assert header.split()[:4] == ["run", "recipe", "data", "accuracy"]
    assert good.split()[:7] == ["good", "test", "photos", "0.6250", "70", "s", "3"]
    assert good.endswith("finished")
    assert working.endswith("stage 2 of 2 (finish), epoch 1 of 2")


def test_best_run_comes_first_when_sorted_by_accuracy(root: Path) -> None:
    worse = make_record(history=[epoch("head", 1, 10, 0.2, True)])
    (root / "a_worse").mkdir()
    (root / "a_worse" / "run.json").write_text(json.dumps(worse))
    lines = list_text(find_runs(str(root)), str(root), "accuracy").splitlines()
    assert lines[-1].startswith("a_worse")


def test_comparison_names_scores_and_every_difference(root: Path) -> None:
    good = find_runs(str(root / "good"))[0]
    other = make_record()
    other["settings"]["recipe"]["stages"][1]["learning_rate"] = 0.25
    other["versions"] = {"python": "3.12"}
    (root / "good2").mkdir()
    (root / "good2" / "run.json").write_text(json.dumps(other))
    text = compare_text(good, find_runs(str(root / "good2"))[0])
    lines = [line.split() for line in text.splitlines()]
    assert ["validation", "accuracy", "0.6250", "0.6250"] in lines
    assert ["after", "head", "0.4000", "0.4000"] in lines
    assert lines[-2:] == [
        ["recipe.stages.finish.learning_rate", "0.1", "0.25"],
        ["versions.python", "3.11", "3.12"],
    ]


def test_soup_is_compared_by_what_it_scored_itself(root: Path) -> None:
    good = find_runs(str(root / "good"))[0]
    lineage = {"members": {"a": "1", "b": "2"}, "val_accuracy": 0.75}
    soup = make_record(history=[], seconds={"soup": {"averaging": 8.0}}, soup=lineage)
    (root / "soup").mkdir()
    (root / "soup" / "run.json").write_text(json.dumps(soup))
    text = compare_text(good, find_runs(str(root / "soup"))[0])
    lines = [line.split() for line in text.splitlines()]
    assert ["status", "finished", "soup", "of", "2", "runs"] in lines
    assert ["validation", "accuracy", "0.6250", "0.7500"] in lines
    assert ["time", "70", "s", "8", "s"] in lines
    assert ["after", "head", "0.4000", "–"] in lines


def test_only_what_a_finished_run_needs_no_more_may_go(root: Path) -> None:
    good = next(run for run in find_runs(str(root)) if run.path.endswith("good"))
    assert deletable(good) == {
        "checkpoints/000000030-02-0000.safetensors": "the run is finished",
        "checkpoints/000000030-02-0000.safetensors.part": "was never finished",
        "weights/00-head-epoch002.safetensors": "not the best of its stage",
    }
    more = set(deletable(good, stage_weights=True)) - set(deletable(good))
    assert more == {
        "weights/00-head-epoch001.safetensors",
        "weights/01-finish-epoch001.safetensors",
    }


@pytest.mark.parametrize("readable", [True, False])
def test_files_of_a_run_inside_of_another_are_its_own(root: Path, readable: bool) -> None:
    inner = root / "good" / "fold2"
    (inner / "checkpoints").mkdir(parents=True)
    for name in ("000000010-00-0000.safetensors", "000000020-00-0000.safetensors.part"):
        (inner / "checkpoints" / name).write_bytes(b"x" * 1000)
    # Also where the record is another version's: its run may be in work as well.
    version = {} if readable else {"schema_version": 99}
    (inner / "run.json").write_text(json.dumps(make_record(finished=False, **version)))
    (root / "good" / "fold").mkdir()
    (root / "good" / "fold" / "left.part").touch()
    before = {path: path.stat().st_size for path in inner.rglob("*") if path.is_file()}

    found = {Path(run.path).name: run for run in find_runs(str(root))}
    assert set(found) == {"good", "working"} | ({"fold2"} if readable else set())
    assert not [file for file in found["good"].files if file.startswith("fold2/")]
    assert "fold/left.part" in deletable(found["good"])
    if readable:
        assert sum(found["fold2"].files.values()) == sum(before.values())
    runs("clean", str(root), "--yes")
    assert {path: path.stat().st_size for path in inner.rglob("*") if path.is_file()} == before


def test_nothing_goes_where_the_model_is_not_there(root: Path) -> None:
    (root / "good" / "model.safetensors").unlink()
    assert deletable(find_runs(str(root / "good"))[0], stage_weights=True) == {}


def test_clean_is_a_dry_run_until_told_otherwise(root: Path) -> None:
    before = sorted(root.rglob("*"))
    said = runs("clean", str(root))
    assert "would delete 3 files" in said
    assert "deeper/working: not finished, left alone" in said
    assert sorted(root.rglob("*")) == before
    assert "deleted 3 files" in runs("clean", str(root), "--yes")
    gone = {path.relative_to(root).as_posix() for path in set(before) - set(root.rglob("*"))}
    assert gone == {f"good/{name}" for name in deletable_names()}


def deletable_names() -> tuple[str, ...]:
    return (FILES[2], FILES[3], FILES[5])


def test_folder_without_runs_and_wrong_verbs_say_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no run"):
        find_runs(str(tmp_path))
    assert "need list ROOT, compare RUN RUN2 or clean ROOT" in runs("remove", "x", code=2)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # The client's open sockets.
class TestBucket:
    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        pytest.importorskip("google.cloud.storage")
        from tests.tfrecords_builder.gcs_server import GcsServer
        from tfrecords_builder import gcs

        server = GcsServer()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        gcs._client.cache_clear()
        yield server
        gcs._client()._http.close()
        gcs._client.cache_clear()
        gc.collect()
        server.shutdown()
        server.server_close()

    def test_runs_in_a_bucket_are_listed_and_cleaned(self, server: Any, root: Path) -> None:
        for path in root.rglob("*"):
            if path.is_file():
                server.put(f"bucket/runs/{path.relative_to(root).as_posix()}", path.read_bytes())
        remote = list_text(find_runs("gs://bucket/runs"), "gs://bucket/runs")
        assert remote == list_text(find_runs(str(root)), str(root))

        from trainer.runs import _clean

        _clean(find_runs("gs://bucket/runs"), stage_weights=False, really=True)
        left = set(server.files("bucket/runs"))
        assert not left & {f"good/{name}" for name in deletable_names()}
        assert "good/model.safetensors" in left
        assert f"deeper/working/{FILES[2]}" in left
