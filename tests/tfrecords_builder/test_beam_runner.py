"""Builds on Apache Beam, where it is installed."""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.tfrecords_builder.data_folder import files_of
from tests.tfrecords_builder.photos import write_photos
from tfrecords_builder.beam_runner import BeamError, run_on_beam, stored, write_stored_task
from tfrecords_builder.build import BuildSettings, ShardTask, build
from tfrecords_builder.sources.folder import FolderSource

HAS_BEAM = importlib.util.find_spec("apache_beam") is not None


@pytest.mark.skipif(not HAS_BEAM, reason="needs the extra 'beam'")
@pytest.mark.filterwarnings("ignore")
def test_a_pipeline_writes_the_bytes_of_a_local_build(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"a": 50, "b": 50})
    source = FolderSource(images=str(tmp_path / "photos"))
    run_tasks = functools.partial(run_on_beam, runner="DirectRunner")
    build(source, BuildSettings(out=str(tmp_path / "beam")), run_tasks=run_tasks)
    build(source, BuildSettings(out=str(tmp_path / "local")))
    assert files_of(tmp_path / "beam") == files_of(tmp_path / "local")


def test_tasks_travel_as_files_that_are_gone_afterwards(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"a": 50, "b": 50})
    source = FolderSource(images=str(tmp_path / "photos"))
    paths_seen: list[str] = []

    def run_tasks(tasks: Sequence[ShardTask]) -> None:
        with stored(tasks) as paths:
            paths_seen.extend(paths)
            for path in paths:
                write_stored_task(path)

    build(source, BuildSettings(out=str(tmp_path / "stored")), run_tasks=run_tasks)
    build(source, BuildSettings(out=str(tmp_path / "local")))
    assert len(paths_seen) == 3
    assert files_of(tmp_path / "stored") == files_of(tmp_path / "local")


@pytest.mark.skipif(HAS_BEAM, reason="is about machines without Beam")
def test_without_beam_the_error_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(BeamError, match="install the extra 'beam'"):
        run_on_beam([], runner="DirectRunner")


@pytest.mark.skipif(not HAS_BEAM, reason="needs the extra 'beam'")
def test_dataflow_cannot_write_a_local_folder(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"a": 3, "b": 3})
    source = FolderSource(images=str(tmp_path / "photos"))
    run_tasks = functools.partial(run_on_beam, runner="DataflowRunner")
    with pytest.raises(BeamError, match="is a local folder"):
        build(source, BuildSettings(out=str(tmp_path / "out")), run_tasks=run_tasks)
