"""Photos of a folder: the same pixels as through records, and nothing silent."""

import gc as garbage
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tfrecords_builder.gcs_server import GcsServer
from tfrecords_builder import gcs
from tfrecords_builder.manifest import load_manifest
from tfrecords_builder.sources.photo_files import SourceError
from trainer.input.canvases import Canvases
from trainer.photo_folder import PhotoFolder

REPOSITORY = Path(__file__).resolve().parents[2]


def photo(size: tuple[int, int], seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos as they come: sizes, formats, a turned one, a grey one."""
    root = tmp_path / "photos"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    photo((120, 80), 0).save(root / "a/wide.jpg")
    photo((50, 90), 1).save(root / "b/tall.png")
    photo((60, 60), 2).convert("L").save(root / "a/grey.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo((100, 40), 3).save(root / "b/turned.jpg", exif=exif)
    return root


def test_pixels_are_those_of_records(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = [sys.executable, "-m", "tfrecords_builder", "--source=folder", f"--images={folder}"]
    done = subprocess.run(
        [*command, f"--out={data}", "--val_fraction=0", "--workers=1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    canvases = Canvases(str(data), load_manifest(str(data)).splits["train"], 40, "none")
    recorded = canvases.gather(np.arange(4))
    canvases.close()
    photos = PhotoFolder(str(folder), 40)
    assert sorted(Path(name).name for name in canvases.ids) == sorted(
        Path(name).name for name in photos.ids
    )
    place = {Path(name).name: row for row, name in enumerate(photos.ids)}
    order = np.array([place[Path(name).name] for name in canvases.ids])
    found = photos.gather(order)
    photos.close()
    assert (found.images == recorded.images).all()
    assert (found.aspects == recorded.aspects).all()


def test_ids_are_sorted_paths_and_hidden_files_are_none(folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / ".cache").mkdir()
    (folder / ".cache/thumb.jpg").write_bytes(b"x")
    names = ["a/grey.jpg", "a/wide.jpg", "b/tall.png", "b/turned.jpg"]
    photos = PhotoFolder(str(folder), 16)
    photos.close()
    assert photos.ids == names


def test_unusable_photos_are_told_with_the_reason(folder: Path) -> None:
    (folder / "a/page.jpg").write_text("<html>not found</html>")
    (folder / "empty.jpg").write_bytes(b"")
    photos = PhotoFolder(str(folder), 16)
    rows = photos.gather(np.arange(photos.num_examples))
    photos.close()
    reasons = {photos.ids[row]: reason for row, reason in photos.unusable.items()}
    assert set(reasons) == {"a/page.jpg", "empty.jpg"}
    assert "web page" in reasons["a/page.jpg"]
    assert reasons["empty.jpg"] == "empty file"
    assert rows.images.shape == (6, 16, 16, 3)


def test_files_that_must_not_be_read_are_told_under_a_name_that_can_be_written(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside.jpg").write_bytes((folder / "a/wide.jpg").read_bytes())
    (folder / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes((folder / "a/wide.jpg").read_bytes())
    photos = PhotoFolder(str(folder), 16)
    photos.gather(np.arange(photos.num_examples))
    photos.close()
    reasons = {photos.ids[row]: reason for row, reason in photos.unusable.items()}
    assert reasons == {
        r"caf\udce9.jpg": "file name is not printable UTF-8 text",
        "link.jpg": "symbolic link that leads out of the photo folder or to nothing",
    }


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # The client's open sockets.
def test_photos_of_a_bucket_are_those_of_the_local_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("google.cloud.storage")
    server = GcsServer()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    gcs._client.cache_clear()
    rows = []
    for path in folder.rglob("*.*"):
        server.put(f"bucket/photos/{path.relative_to(folder).as_posix()}", path.read_bytes())
    for where in (str(folder), "gs://bucket/photos"):
        photos = PhotoFolder(where, 16)
        rows.append((photos.ids, photos.gather(np.arange(4)).images, photos.unusable))
        photos.close()
    gcs._client()._http.close()
    gcs._client.cache_clear()
    garbage.collect()  # Sockets that are still open are this test's, not the next one's.
    server.shutdown()
    server.server_close()
    assert rows[0][0] == rows[1][0]
    np.testing.assert_array_equal(rows[0][1], rows[1][1])
    assert rows[1][2] == {}


@pytest.mark.parametrize(("name", "message"), [("none", "does not exist"), ("", "holds no photo")])
def test_folder_without_photos_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        PhotoFolder(str(tmp_path / name), 16)
