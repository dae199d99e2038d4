"""Downloading a competition through the real client, from a stand-in of Kaggle."""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.kaggle_archive import DownloadError, Layout, find_layout
from launch.kaggle_download import download
from tests.kaggle_server import SIGNATURE, Fault, KaggleServer, redirected_client, sign_in
from trainer.submission.connection import Connection
from trainer.submission.errors import KaggleUnavailable, SubmissionError

REPOSITORY = Path(__file__).resolve().parents[2]
MIB = 1 << 20
"""The client writes to disk in pieces of this size."""
PHOTO = os.urandom(3 * MIB // 2)
FILES = {
    "train.csv": b"Id,Category\n1.jpg,0\n",
    "sample-submission.csv": b"Id,Category\n2.jpg,0\n",
    "train/0/1.jpg": PHOTO,
    "test_upload/2.jpg": PHOTO[::-1],
}


def _archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _tree(folder: Path) -> dict[str, bytes]:
    """All files but the record, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "download.json"
    }


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleServer]:
    sign_in(monkeypatch, tmp_path / "home")
    # The client sleeps on its own between the tries of a download.
    monkeypatch.setattr("time.sleep", lambda _: None)
    with KaggleServer() as server, redirected_client(server):
        server.competitions["cars"].archive = _archive(FILES)
        yield server


@pytest.fixture
def connection(lines: list[str]) -> Connection:
    return Connection("cars", timeouts_secs=(2, 0.4), sleep=lambda _: None, report=lines.append)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.mark.usefixtures("kaggle")
def test_files_are_unpacked_in_the_layout_of_the_builder(
    connection: Connection, tmp_path: Path
) -> None:
    names = download(connection, tmp_path / "cars")
    assert _tree(tmp_path / "cars") == FILES
    assert find_layout(names).builder_command(Path("d"), "r") == (
        "python -m tfrecords_builder --source=csv --images=d/train --labels=d/train.csv "
        "--test_images=d/test_upload --sample_submission=d/sample-submission.csv --out=r"
    )


def test_photos_that_are_packed_twice_are_unpacked_twice(
    kaggle: KaggleServer, connection: Connection, tmp_path: Path
) -> None:
    inner = {name: content for name, content in FILES.items() if name.startswith("train/")}
    rest = {name: content for name, content in FILES.items() if name not in inner}
    kaggle.competitions["cars"].archive = _archive({**rest, "train.zip": _archive(inner)})
    assert download(connection, tmp_path / "cars") == sorted(FILES)
    assert _tree(tmp_path / "cars") == FILES


def test_complete_download_is_not_repeated(
    kaggle: KaggleServer, connection: Connection, tmp_path: Path
) -> None:
    first = download(connection, tmp_path / "cars")
    kaggle.calls.clear()
    assert download(connection, tmp_path / "cars") == first
    assert not kaggle.calls


def test_lost_file_is_fetched_again(
    connection: Connection, tmp_path: Path, kaggle: KaggleServer
) -> None:
    download(connection, tmp_path / "cars")
    (tmp_path / "cars/train/0/1.jpg").unlink()
    download(connection, tmp_path / "cars")
    assert _tree(tmp_path / "cars") == FILES


@pytest.mark.usefixtures("kaggle")
def test_file_that_is_there_with_other_bytes_is_replaced(
    connection: Connection, tmp_path: Path
) -> None:
    path = tmp_path / "cars/train/0/1.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(PHOTO[::-1])
    download(connection, tmp_path / "cars")
    assert _tree(tmp_path / "cars") == FILES


def test_broken_off_download_goes_on_where_it_stopped(
    kaggle: KaggleServer, connection: Connection, tmp_path: Path
) -> None:
    kaggle.cut_data_after = 5 * MIB // 2
    download(connection, tmp_path / "cars")
    assert _tree(tmp_path / "cars") == FILES
    assert kaggle.range_starts == [2 * MIB]


def test_killed_download_goes_on_in_the_next_process(
    kaggle: KaggleServer,
    connection: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kaggle.cut_data_after = 5 * MIB // 2

    def killed(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("time.sleep", killed)
        with pytest.raises(KeyboardInterrupt):
            download(connection, tmp_path / "cars")
    assert _tree(tmp_path / "cars").keys() == {"cars.zip", "cars.zip.kaggle-partial"}
    download(connection, tmp_path / "cars")
    assert _tree(tmp_path / "cars") == FILES
    assert kaggle.range_starts == [2 * MIB]


def test_damaged_archive_is_removed_and_told(
    kaggle: KaggleServer, connection: Connection, tmp_path: Path
) -> None:
    damaged = bytearray(_archive(FILES))
    damaged[len(damaged) // 2] ^= 1
    kaggle.competitions["cars"].archive = bytes(damaged)
    with pytest.raises(DownloadError, match=r"cars\.zip is damaged \(Bad CRC-32"):
        download(connection, tmp_path / "cars")
    kaggle.competitions["cars"].archive = _archive(FILES)
    download(connection, tmp_path / "cars")
    assert _tree(tmp_path / "cars") == FILES


@pytest.mark.parametrize(
    ("offset", "value", "reason"), [(8, 9, "compression method"), (6, 1, "password required")]
)
def test_archive_that_python_cannot_unpack_is_told_and_kept(
    kaggle: KaggleServer,
    connection: Connection,
    tmp_path: Path,
    offset: int,
    value: int,
    reason: str,
) -> None:
    packed = bytearray(_archive({"train.csv": b"Id,Category\n"}))
    packed[offset] = value  # of the file's own header, then of the list at the end
    packed[packed.index(b"PK\x01\x02") + offset + 2] = value
    kaggle.competitions["cars"].archive = bytes(packed)
    with pytest.raises(DownloadError, match=rf"cannot be unpacked here \(.*{reason}"):
        download(connection, tmp_path / "cars")
    assert (tmp_path / "cars" / "cars.zip").read_bytes() == packed


@pytest.mark.parametrize("name", ["../evil.csv", "/evil.csv", "a/../../evil.csv"])
def test_member_that_points_outside_is_refused(
    kaggle: KaggleServer, connection: Connection, tmp_path: Path, name: str
) -> None:
    kaggle.competitions["cars"].archive = _archive({name: b"x"})
    with pytest.raises(DownloadError, match="points outside"):
        download(connection, tmp_path / "cars")
    assert not list(tmp_path.rglob("evil.csv"))


@pytest.mark.usefixtures("kaggle")
def test_folder_of_another_competition_is_left_alone(
    connection: Connection, tmp_path: Path
) -> None:
    download(connection, tmp_path / "cars")
    with pytest.raises(DownloadError, match="holds the data of 'cars'"):
        download(Connection("trucks"), tmp_path / "cars")


def test_disk_that_is_too_small_is_told_before_unpacking(
    kaggle: KaggleServer,
    connection: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(DownloadError, match="free it or choose another --out"):
        download(connection, tmp_path / "cars")


@pytest.mark.usefixtures("kaggle")
def test_interrupted_unpacking_goes_on_with_room_for_the_rest_only(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cars/train/0").mkdir(parents=True)
    (tmp_path / "cars/train/0/1.jpg").write_bytes(PHOTO)
    (tmp_path / "cars/train.csv").write_bytes(b"Id")  # cut off: all of it is written again

    class Usage:
        free = sum(len(content) for content in FILES.values()) - len(PHOTO)

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    download(connection, tmp_path / "cars")
    assert _tree(tmp_path / "cars") == FILES


@pytest.mark.usefixtures("kaggle")
def test_room_for_the_rest_is_still_asked_for(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cars/train/0").mkdir(parents=True)
    (tmp_path / "cars/train/0/1.jpg").write_bytes(PHOTO)

    class Usage:
        free = len(PHOTO)

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(DownloadError, match="free it or choose another --out"):
        download(connection, tmp_path / "cars")


def test_rules_must_be_accepted(
    kaggle: KaggleServer, connection: Connection, tmp_path: Path
) -> None:
    kaggle.competitions["cars"].rules_accepted = False
    with pytest.raises(SubmissionError, match="competitions/cars/rules"):
        download(connection, tmp_path / "cars")


@pytest.mark.parametrize("call", ["DownloadDataFiles", "Data"])
@pytest.mark.parametrize(
    "fault",
    [Fault(status=503), Fault(status=429, retry_after="1"), Fault(cut=True), Fault(hang=True)],
)
def test_passing_fault_is_survived(
    kaggle: KaggleServer, connection: Connection, tmp_path: Path, call: str, fault: Fault
) -> None:
    kaggle.fail(call, fault)
    download(connection, tmp_path / "cars")
    assert _tree(tmp_path / "cars") == FILES


def test_lasting_fault_is_an_error_without_the_signature(
    kaggle: KaggleServer, connection: Connection, tmp_path: Path, lines: list[str]
) -> None:
    kaggle.fail("Data", Fault(status=503, message=f"https://x/y?signature={SIGNATURE}"), times=99)
    with pytest.raises(KaggleUnavailable, match=r"503 .* while downloading the data") as caught:
        download(connection, tmp_path / "cars")
    assert not [line for line in [str(caught.value), *lines] if SIGNATURE in line]


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (
            sorted(FILES),
            Layout(
                images="train",
                labels="train.csv",
                test_images="test_upload",
                sample_submission="sample-submission.csv",
            ),
        ),
        (
            ["photos/a.jpg", "readme.csv"],
            Layout(images=None, labels=None, test_images=None, sample_submission=None),
        ),
    ],
)
def test_layout_is_recognised_by_names(names: list[str], layout: Layout) -> None:
    assert find_layout(names) == layout


def test_layout_of_a_real_competition(material: Path) -> None:
    names = [
        path.relative_to(material / "cars").as_posix()
        for path in (material / "cars").rglob("*")
        if path.is_file()
    ]
    assert find_layout(names) == Layout(
        images="train",
        labels="train.csv",
        test_images="test_upload",
        sample_submission="sample-submission.csv",
    )


def test_command_shows_its_verbs_and_refuses_others() -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "launch.kaggle", *arguments],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )

    assert "download" in run("--help").stdout
    assert "--competition" in run("download", "--help").stdout
    wrong = run("drive")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: there is no verb 'drive'")


@pytest.mark.usefixtures("kaggle")
def test_record_lists_every_file_with_its_size(connection: Connection, tmp_path: Path) -> None:
    download(connection, tmp_path / "cars")
    record = json.loads((tmp_path / "cars/download.json").read_text())
    assert record == {
        "competition": "cars",
        "files": {name: len(content) for name, content in sorted(FILES.items())},
    }
