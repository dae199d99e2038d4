"""The audit finds what was planted, and its tables mend the build."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tfrecords_builder.photos import encode_image, make_image, make_photo
from tfrecords_builder.audit.audit import AuditSettings, audit
from tfrecords_builder.build import BuildSettings, build
from tfrecords_builder.errors import UserError
from tfrecords_builder.sources.adjusted import AdjustedSource
from tfrecords_builder.sources.folder import FolderSource
from tfrecords_builder.splits import SplitSettings

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def heap(tmp_path: Path) -> Path:
    """Two classes with one file under both labels, look-alikes, and a broken file."""
    photos = tmp_path / "photos"
    for name in ("sedan", HOSTILE):
        (photos / name).mkdir(parents=True)
    for number in range(8):
        original = make_image(number, 200, 150)
        smaller = encode_image(original.resize((160, 120)), "JPEG", quality=60)
        (photos / "sedan" / f"{number}.jpg").write_bytes(encode_image(original, "JPEG"))
        (photos / "sedan" / f"{number} small.jpg").write_bytes(smaller)
        (photos / HOSTILE / f"{number}.jpg").write_bytes(make_photo(number + 50, 200, 150))
    wrong = (photos / "sedan" / "3.jpg").read_bytes()
    (photos / HOSTILE / "wrong.jpg").write_bytes(wrong)
    spare = (photos / HOSTILE / "5.jpg").read_bytes()
    (photos / HOSTILE / "copy.jpg").write_bytes(spare)
    (photos / "sedan" / "broken.jpg").write_bytes(b"")
    return photos


def run_audit(photos: Path, out: Path) -> dict[str, Any]:
    settings = AuditSettings(out=str(out), split=SplitSettings(val_fraction=0.4), num_workers=2)
    return audit(FolderSource(images=str(photos)), settings)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_results_among_the_photos_are_refused_before_anything_is_written(heap: Path) -> None:
    with pytest.raises(UserError, match="lies in the photo folder"):
        run_audit(heap, heap / "audit")
    assert not (heap / "audit").exists()


def test_everything_planted_is_found(heap: Path, tmp_path: Path) -> None:
    summary = run_audit(heap, tmp_path / "audit")
    assert summary == json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert summary["num_photos"] == 27
    assert summary["broken"] == {"sedan/broken.jpg": "empty file"}
    assert summary["width_px"]["p100"] == 200
    duplicates = summary["duplicates"]
    assert duplicates["num_groups"] == 9
    assert duplicates["num_exact"] == 1
    assert duplicates["num_across_classes"] == 1
    assert duplicates["num_across_splits"] >= 1
    first = {member["id"] for member in duplicates["groups"][0]["members"]}
    assert first == {"sedan/3.jpg", "sedan/3 small.jpg", f"{HOSTILE}/wrong.jpg"}


def test_the_page_is_self_contained_and_escapes_names(heap: Path, tmp_path: Path) -> None:
    run_audit(heap, tmp_path / "audit")
    page = (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8")
    assert HOSTILE not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<script" not in page
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) > 20
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)


def test_the_tables_mend_the_next_build(heap: Path, tmp_path: Path) -> None:
    run_audit(heap, tmp_path / "audit")
    exclude, groups = (tmp_path / "audit" / name for name in ("exclude.csv", "groups.csv"))
    excluded = {row["id"]: row["reason"] for row in rows(exclude)}
    assert excluded["sedan/broken.jpg"] == "broken: empty file"
    assert len(excluded.keys() & {f"{HOSTILE}/5.jpg", f"{HOSTILE}/copy.jpg"}) == 1
    assert "different labels" in excluded["sedan/3.jpg"]
    assert "different labels" in excluded[f"{HOSTILE}/wrong.jpg"]
    assert "sedan/3 small.jpg" not in excluded
    source = AdjustedSource(
        source=FolderSource(images=str(heap)), exclude=str(exclude), groups=str(groups)
    )
    settings = BuildSettings(out=str(tmp_path / "out"), split=SplitSettings(val_fraction=0.4))
    result = build(source, settings)
    assert result.num_quarantined == len(excluded)
    sides = {row["id"]: row["split"] for row in rows(tmp_path / "out" / "records.csv")}
    for number in set(range(8)) - {3}:
        assert sides[f"sedan/{number}.jpg"] == sides[f"sedan/{number} small.jpg"]


def test_names_that_are_not_text_do_not_spoil_the_tables(heap: Path, tmp_path: Path) -> None:
    (heap / "sedan" / "caf\udce9.jpg").write_bytes(make_photo(99))
    run_audit(heap, tmp_path / "audit")
    tables = {name: str(tmp_path / "audit" / f"{name}.csv") for name in ("exclude", "groups")}
    source = AdjustedSource(source=FolderSource(images=str(heap)), **tables)
    refused = [row.id for row in source.list_photos().quarantined]
    assert refused[0] == "sedan/caf\udce9.jpg"


def test_a_folder_that_cannot_be_made_is_an_error_before_any_photo_is_read(
    heap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(FolderSource, "read")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        run_audit(heap, tmp_path / "file" / "audit")


def test_the_command_says_what_it_found(heap: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tfrecords_builder.audit", "--source=folder"),
            *(f"--images={heap}", f"--out={tmp_path / 'audit'}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "looked at 27 photos: 1 broken" in done.stdout
    assert "1 under different labels" in done.stdout
