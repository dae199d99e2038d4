"""What a start finds in the folder of its run."""

import dataclasses
from pathlib import Path

import pytest

from tests.trainer.making import build_cars, make_recipe
from tfrecords_builder.manifest import Manifest, load_manifest
from trainer.errors import RunFolderError
from trainer.run_record import (
    RunSettings,
    load_run_record,
    make_run_record,
    write_run_record,
)
from trainer.session import SessionOptions, _open_run

pytest.importorskip("tensorflow")

OPTIONS = SessionOptions(
    data_dir="DATA",
    run_dir="",
    recipe_name="test",
    overrides=(),
    weights=None,
    precision=None,
    strategy="cpu",
    num_devices=None,
    tpu="local",
    seed=0,
    batch_scaling="fixed",
    cache="auto",
    xla=None,
    deadline=None,
    checkpoint_every="10m",
    max_rollbacks=0,
    rehearse=None,
    rehearse_only=False,
    allow_changes=False,
)


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
def options(tmp_path: Path, manifest: Manifest) -> SessionOptions:
    """Of a second start, where a first one with seed 0 wrote its record and ended."""
    record = make_run_record(settings_with(0, manifest), manifest, "DATA", "one", 1)
    write_run_record(str(tmp_path), record)
    return dataclasses.replace(OPTIONS, run_dir=str(tmp_path))


def test_a_run_that_saved_nothing_may_start_with_other_settings(
    options: SessionOptions, manifest: Manifest
) -> None:
    record = _open_run(options, settings_with(1, manifest), manifest, "one", 1)
    assert (record["settings"]["seed"], record["num_starts"]) == (1, 0)


def test_what_was_learnt_with_other_settings_is_not_gone_on_with(
    options: SessionOptions, manifest: Manifest
) -> None:
    checkpoint = Path(options.run_dir, "checkpoints", "step-1.safetensors")
    checkpoint.parent.mkdir()
    checkpoint.touch()
    with pytest.raises(RunFolderError, match=r"other settings \(seed: 0 -> 1\)"):
        _open_run(options, settings_with(1, manifest), manifest, "one", 1)


def test_a_finished_run_without_its_checkpoints_keeps_its_settings(
    options: SessionOptions, manifest: Manifest
) -> None:
    scored = {**load_run_record(options.run_dir), "history": [{"epoch": 0}]}
    write_run_record(options.run_dir, scored)
    with pytest.raises(RunFolderError):
        _open_run(options, settings_with(1, manifest), manifest, "one", 1)
