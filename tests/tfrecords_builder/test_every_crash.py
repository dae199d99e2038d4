"""A build may be cut short before or after any change that it makes to a folder."""

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tfrecords_builder.data_folder import files_of
from tests.tfrecords_builder.photos import make_photo, write_photos
from tfrecords_builder.build import BuildSettings, build
from tfrecords_builder.sources.folder import FolderSource
from tfrecords_builder.verify import find_problems

CHANGES = ("makedirs", "remove", "replace")


class _Crash(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def run_until(number: int, *, after: bool, action: Callable[[], object]) -> bool:
    """Stops the action before or after its change of that number; False if it has fewer."""
    calls = itertools.count(1)

    def crashing(change: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: Any, **options: Any) -> object:
            now = next(calls) == number
            if now and not after:
                raise _Crash
            try:
                return change(*arguments, **options)
            finally:
                if now:
                    raise _Crash

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, crashing(getattr(os, name)))
        try:
            action()
        except _Crash:
            return True
    return False


@pytest.fixture(params=["new", "changed"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Folder to build into: none yet, or of photos of which one has changed and many are new."""
    photos, out = tmp_path / "photos", tmp_path / "start"
    write_photos(photos, {"a": 40, "b": 40})
    if request.param == "changed":
        build(FolderSource(images=str(photos)), BuildSettings(out=str(out)))
        (photos / "a" / "3.jpg").write_bytes(make_photo(777))
        for number in range(100, 190):
            (photos / "b" / f"{number}.jpg").write_bytes(make_photo(number + 50))
    return out


def test_a_crash_anywhere_leaves_no_lie_and_no_trace(start: Path, tmp_path: Path) -> None:
    source = FolderSource(images=str(tmp_path / "photos"))

    def begin(out: Path) -> BuildSettings:
        if start.exists():
            shutil.copytree(start, out)
        return BuildSettings(out=str(out))

    build(source, begin(tmp_path / "whole"))
    whole = files_of(tmp_path / "whole")
    num_crashes = 0
    for number, after in ((n, after) for n in itertools.count(1) for after in (False, True)):
        out = tmp_path / f"{number}{'after' if after else 'before'}"
        settings = begin(out)
        if not run_until(number, after=after, action=lambda s=settings: build(source, s)):
            break
        num_crashes += 1
        if (out / "manifest.json").exists():
            assert find_problems(str(out)) == [], out.name
        build(source, settings)
        found = files_of(out)
        names = found.keys() | whole.keys()
        different = [name for name in names if found.get(name) != whole.get(name)]
        assert not different, out.name
    assert num_crashes > 30
