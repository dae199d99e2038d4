"""What a session finds below the folder of attached data."""

import json
import zipfile
from pathlib import Path

import pytest

from launch.kaggle_archive import DamagedArchive
from launch.kaggle_contract import sha256_of
from launch.kaggle_input import AttachedInput, SessionError

FILES = {
    "train.csv": b"Id,Category\n1.jpg,0\n",
    "sample-submission.csv": b"Id,Category\n2.jpg,0\n",
    "train/0/1.jpg": b"a photo",
    "test_upload/2.jpg": b"another",
}


def attach(folder: Path, files: dict[str, bytes], *, packed: tuple[str, ...] = ()) -> None:
    """Writes the files; those of the folders in `packed` into FOLDER.zip instead."""
    for name, content in files.items():
        top = name.partition("/")[0]
        folder.mkdir(parents=True, exist_ok=True)
        if top in packed:
            with zipfile.ZipFile(folder / f"{top}.zip", "a") as archive:
                archive.writestr(name, content)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


@pytest.fixture
def attached(tmp_path: Path) -> AttachedInput:
    (tmp_path / "input").mkdir()
    return AttachedInput(folder=tmp_path / "input", unpacked=tmp_path / "temp")


def named_files(flags: tuple[str, ...]) -> dict[str, set[bytes]]:
    """The content that each flag leads to."""
    source, *others = flags
    assert source == "--source=csv"
    found = {}
    for flag in others:
        name, _, value = flag.removeprefix("--").partition("=")
        path = Path(value)
        files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        found[name] = {file.read_bytes() for file in files}
    return found


@pytest.mark.parametrize("place", ["cars", "competitions/cars", "datasets/somebody/cars"])
@pytest.mark.parametrize("packed", [(), ("train", "test_upload"), ("test_upload",)], ids=str)
def test_photos_of_a_competition_are_recognised(
    attached: AttachedInput, place: str, packed: tuple[str, ...]
) -> None:
    attach(attached.folder / place, FILES, packed=packed)
    assert named_files(attached.builder_flags(())) == {
        "images": {FILES["train/0/1.jpg"]},
        "labels": {FILES["train.csv"]},
        "test_images": {FILES["test_upload/2.jpg"]},
        "sample_submission": {FILES["sample-submission.csv"]},
    }


def test_names_with_spaces_stay_one_flag(attached: AttachedInput) -> None:
    attach(attached.folder / "cars", {"train set/0/1.jpg": b"a", "train labels.csv": b"b"})
    assert named_files(attached.builder_flags(())) == {"images": {b"a"}, "labels": {b"b"}}


def test_attached_data_are_never_written(attached: AttachedInput) -> None:
    attach(attached.folder / "cars", FILES, packed=("train",))
    before = sorted(attached.folder.rglob("*"))
    attached.builder_flags(())
    assert sorted(attached.folder.rglob("*")) == before


def test_damaged_archive_is_told_and_left_alone(attached: AttachedInput) -> None:
    attach(attached.folder / "cars", FILES, packed=("train",))
    archive = attached.folder / "cars" / "train.zip"
    archive.write_bytes(archive.read_bytes().replace(b"a photo", b"a ph0to"))
    with pytest.raises(DamagedArchive, match=r"train\.zip is damaged"):
        attached.builder_flags(())
    assert archive.exists()


def test_given_flags_lead_to_the_attached_data(attached: AttachedInput) -> None:
    attach(attached.folder / "cars", {"photos/sedan/1.jpg": b"a"})
    flags = attached.builder_flags(("--source=folder", "--images={input}/photos"))
    assert flags == ("--source=folder", f"--images={attached.folder}/cars/photos")


def test_given_flags_lead_into_unpacked_archives(attached: AttachedInput) -> None:
    attach(attached.folder / "cars", {"photos/sedan/1.jpg": b"a"}, packed=("photos",))
    _, images = attached.builder_flags(("--source=folder", "--images={input}/photos"))
    assert Path(images.partition("=")[2], "sedan", "1.jpg").read_bytes() == b"a"


@pytest.mark.parametrize(
    ("files", "packed", "given"),
    [
        (FILES, (), ()),
        (FILES, ("train",), ()),
        ({"photos/sedan/1.jpg": b"a"}, (), ("--source=folder",)),
        ({"manifest.json": b'{"splits": {}, "classes": []}'}, (), ()),
    ],
    ids=["photos", "archives", "anything with --build", "records"],
)
def test_data_that_may_be_used_are_seen_at_a_glance(
    attached: AttachedInput, files: dict[str, bytes], packed: tuple[str, ...], given: tuple[str]
) -> None:
    with pytest.raises(SessionError, match="it is empty"):
        attached.require_data(given)
    attach(attached.folder / "cars", files, packed=packed)
    attached.require_data(given)
    assert not attached.unpacked.exists()


def test_nothing_recognised_names_what_is_there(attached: AttachedInput) -> None:
    attach(attached.folder / "cars", {"readme.txt": b""})
    with pytest.raises(SessionError, match=r"no labelled photos .*input/cars\); .* with --build"):
        attached.builder_flags(())


def test_records_are_found_at_any_depth_and_other_manifests_passed_over(
    attached: AttachedInput,
) -> None:
    records = json.dumps({"splits": {}, "classes": []}).encode()
    attach(attached.folder / "a", {"manifest.json": b"[]", "b/manifest.json": b"{"})
    assert attached.find_records() is None
    attach(attached.folder / "datasets/me/cars/built", {"manifest.json": records})
    assert attached.find_records() == attached.folder / "datasets/me/cars/built"


def test_only_the_wanted_state_is_found_and_it_is_no_source_of_photos(
    attached: AttachedInput,
) -> None:
    attach(attached.folder / "old", {"state.json": b"1"})
    attach(attached.folder / "new", {"state.json": b"2", **FILES})
    wanted = sha256_of(attached.folder / "new/state.json")
    assert attached.find_state(wanted, session=1) == attached.folder / "new"
    with pytest.raises(SessionError, match="no attached data set holds the state of session 1"):
        attached.find_state("0" * 64, session=1)
    with pytest.raises(SessionError, match="no labelled photos"):
        attached.builder_flags(())
