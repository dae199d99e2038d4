"""What a start finds in the folder of its run."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.making import build_cars, make_recipe
from tfrecords_builder.manifest import Manifest, load_manifest
from trainer.errors import RunFolderError, TrainingError
from trainer.run_folder import open_run
from trainer.run_record import (
    RunSettings,
    load_run_record,
    make_run_record,
    write_run_record,
)

pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return load_manifest(build_cars(tmp_path_factory.mktemp("session") / "data", 30))


def settings_with(seed: int, manifest: Manifest) -> RunSettings:
    return RunSettings(
        recipe=make_recipe(),
        seed=seed,
        batch_scaling="fixed",
        data_fingerprint=manifest.fingerprint,
    )


@pytest.fixture
def run_dir(tmp_path: Path, manifest: Manifest) -> str:
    """Where a first start, with seed 0, wrote its record and ended."""
    record = make_run_record(settings_with(0, manifest), manifest, "DATA", "one", 1)
    write_run_record(str(tmp_path), record)
    return str(tmp_path)


def open_with(seed: int, run_dir: str, manifest: Manifest) -> dict[str, Any]:
    settings = settings_with(seed, manifest)
    fresh = make_run_record(settings, manifest, "DATA", "one", 1)
    return open_run(run_dir, settings, fresh, allow_changes=False)


def test_a_run_that_saved_nothing_may_start_with_other_settings(
    run_dir: str, manifest: Manifest
) -> None:
    record = open_with(1, run_dir, manifest)
    assert (record["settings"]["seed"], record["num_starts"]) == (1, 0)


def test_what_was_learnt_with_other_settings_is_not_gone_on_with(
    run_dir: str, manifest: Manifest
) -> None:
    checkpoint = Path(run_dir, "checkpoints", "step-1.safetensors")
    checkpoint.parent.mkdir()
    checkpoint.touch()
    with pytest.raises(RunFolderError, match=r"other settings \(seed: 0 -> 1\)"):
        open_with(1, run_dir, manifest)


def test_a_batch_per_replica_is_of_so_many_replicas(manifest: Manifest) -> None:
    def settings(num_replicas: int, batch_scaling: str = "per_replica") -> RunSettings:
        return RunSettings(
            recipe=make_recipe(),
            seed=0,
            batch_scaling=batch_scaling,
            data_fingerprint=manifest.fingerprint,
            num_replicas=num_replicas,
        )

    def stored(settings: RunSettings) -> dict[str, Any]:
        return json.loads(json.dumps(settings.to_json()))

    of_eight = stored(settings(8))
    assert settings(4).differences(of_eight) == ["num_replicas: 8 -> 4"]
    assert settings(8).differences(of_eight) == []
    assert settings(4, "fixed").differences(stored(settings(8, "fixed"))) == []
    del of_eight["num_replicas"]  # As an older version wrote it.
    assert settings(4).differences(of_eight) == []


def test_a_finished_run_without_its_checkpoints_keeps_its_settings(
    run_dir: str, manifest: Manifest
) -> None:
    scored = {**load_run_record(run_dir), "history": [{"epoch": 0}]}
    write_run_record(run_dir, scored)
    with pytest.raises(RunFolderError):
        open_with(1, run_dir, manifest)


@pytest.mark.parametrize("name", ["train.log", "lost+found", "model.safetensors", "x.part"])
def test_a_folder_with_something_else_is_refused_by_its_name(
    name: str, tmp_path: Path, manifest: Manifest
) -> None:
    (tmp_path / name).touch()
    with pytest.raises(RunFolderError, match="need an empty or a new folder") as caught:
        open_with(0, str(tmp_path), manifest)
    assert f"holds no run, but {name};" in str(caught.value)


def test_of_many_files_some_are_named(tmp_path: Path, manifest: Manifest) -> None:
    for number in range(9):
        (tmp_path / f"photo-{number}.jpg").touch()
    with pytest.raises(RunFolderError, match=r"photo-0\.jpg, photo-1\.jpg, .*and 6 more;"):
        open_with(0, str(tmp_path), manifest)


def test_what_a_killed_start_left_behind_is_no_hindrance(
    tmp_path: Path, manifest: Manifest
) -> None:
    (tmp_path / "run.json.part").write_text('{"schema')
    (tmp_path / "xla_cache").mkdir()
    record = open_with(3, str(tmp_path), manifest)
    assert (record["settings"]["seed"], record["num_starts"]) == (3, 0)


def test_a_folder_that_cannot_be_made_is_one_clear_error(
    tmp_path: Path, manifest: Manifest
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="need a folder to write to"):
        open_with(0, str(tmp_path / "file" / "run"), manifest)


def test_a_record_on_a_full_disk_is_a_clear_end(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(TrainingError, match=r"cannot write .*run\.json.*make room"):
        write_run_record(str(tmp_path / "run"), {})


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_record_is_json_for_everyone(value: float, tmp_path: Path) -> None:
    record = {"schema_version": 1, "history": [{"gradient_norm": value, "step": 3}]}
    write_run_record(str(tmp_path), record)

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is not JSON")

    json.loads((tmp_path / "run.json").read_text(), parse_constant=refuse)
    stored = load_run_record(str(tmp_path))
    assert stored["history"] == [{"gradient_norm": None, "step": 3}]
    # What an earlier version wrote is read, and written again as it should be.
    (tmp_path / "run.json").write_text(json.dumps(record))
    write_run_record(str(tmp_path), load_run_record(str(tmp_path)))
    assert load_run_record(str(tmp_path)) == stored
