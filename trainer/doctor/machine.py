"""Checks of the machine: memory, disks, clock, credentials, the data and the run folder."""

import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.doctor.finding import FAILURE, OK, SKIPPED, WARNING, Finding

GIB = 2**30
_LITTLE_MEMORY, _LITTLE_DISK, _NO_DISK = 4 * GIB, 5 * GIB, GIB // 2


def check_memory() -> Finding:
    """Enough memory is free for a network and its canvases."""
    import psutil

    from trainer.input.room import free_memory

    free, total = free_memory(), psutil.virtual_memory().total
    found = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    if free >= _LITTLE_MEMORY:
        return Finding(status=OK, found=f"{found}, {os.cpu_count()} processors")
    return Finding(
        status=WARNING, found=found, remedy="end other programs; use --cache=disk for the photos"
    )


def check_disk(folder: str, option: str) -> Finding:
    """A folder, or where it would be made, can be written and has room.

    Args:
        folder: local or gs://.
        option: the flag or variable that moves it elsewhere.
    """
    if folder.startswith("gs://"):
        return Finding(status=SKIPPED, found=f"{folder}: a bucket has no end")
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{free / GIB:.1f} GiB free at {place}"
    if not os.access(place, os.W_OK):
        return Finding(
            status=FAILURE, found=f"{place} cannot be written", remedy=f"choose another {option}"
        )
    if free >= _LITTLE_DISK:
        return Finding(status=OK, found=found)
    return Finding(
        status=WARNING if free >= _NO_DISK else FAILURE,
        found=found,
        remedy=f"make room or choose another {option}",
    )


def check_temporary(canvases: int) -> Finding:
    """Temporary files have room, and decoded photos have it there or in memory.

    Args:
        canvases: bytes of a run's decoded photos; 0 if nothing is known of it.
    """
    from trainer.input.room import choose_cache

    finding = check_disk(tempfile.gettempdir(), "TMPDIR")
    if finding.status == FAILURE or choose_cache("auto", canvases) != "none":
        return finding
    return Finding(
        status=WARNING,
        found=f"{finding.found}: neither there nor in memory is room for {canvases / GIB:.1f} GiB "
        "of decoded photos, which would be decoded in every epoch",
        remedy="make room or choose another TMPDIR",
    )


def check_clock(now: float, newest_file: float, synchronized: bool | None) -> Finding:
    """The clock is not behind what is installed; TLS and Google refuse requests of a wrong time.

    Args:
        now: seconds since 1970 by this machine.
        newest_file: when the program was installed, by the clock of that time.
        synchronized: by the system's time service; None if it says nothing.
    """
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < newest_file - 86400:
        return Finding(
            status=FAILURE,
            found=f"{text}, earlier than the program was installed",
            remedy="set the clock (timedatectl set-ntp true)",
        )
    if synchronized is None:
        return Finding(status=OK, found=f"{text}; not compared with other clocks (no network used)")
    if synchronized:
        return Finding(status=OK, found=f"{text}, kept by the system's time service")
    return Finding(
        status=WARNING, found=f"{text}, not synchronized", remedy="timedatectl set-ntp true"
    )


def clock_is_synchronized() -> bool | None:
    """What systemd-timesyncd has left behind; None where it does not run."""
    folder = Path("/run/systemd/timesync")
    return (folder / "synchronized").exists() if folder.is_dir() else None


def check_kaggle(environment: Mapping[str, str], home: Path) -> Finding:
    """Credentials of Kaggle are there; they are never shown."""
    if environment.get("KAGGLE_API_TOKEN"):
        return Finding(status=OK, found="KAGGLE_API_TOKEN is set")
    if environment.get("KAGGLE_USERNAME") and environment.get("KAGGLE_KEY"):
        return Finding(status=OK, found="KAGGLE_USERNAME and KAGGLE_KEY are set")
    for path in _kaggle_files(environment, home):
        if not path.is_file():
            continue
        if path.suffix == ".json" and not _has_keys(path, ("username", "key")):
            return Finding(
                status=FAILURE,
                found=f"{path} is damaged or lacks username or key",
                remedy="make a new token on kaggle.com, Settings, API",
            )
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            return Finding(
                status=WARNING,
                found=f"{path} can be read by others",
                remedy=f"chmod 600 {path}",
            )
        return Finding(status=OK, found=f"{path}")
    return Finding(
        status=SKIPPED, found="none; only needed to download from Kaggle and to submit there"
    )


def check_google(environment: Mapping[str, str], home: Path, wanted: bool) -> Finding:
    """Credentials of Google Cloud are there if a gs:// path is used; they are never shown."""
    named = environment.get("GOOGLE_APPLICATION_CREDENTIALS")
    if named and not Path(named).is_file():
        return Finding(
            status=FAILURE,
            found=f"GOOGLE_APPLICATION_CREDENTIALS names {named}, which is not there",
            remedy="correct the path, or unset it",
        )
    default = home / ".config" / "gcloud" / "application_default_credentials.json"
    path = Path(named) if named else default
    if path.is_file():
        if _has_keys(path, ("type",)):
            return Finding(status=OK, found=f"{path}")
        return Finding(
            status=FAILURE,
            found=f"{path} is damaged",
            remedy="gcloud auth application-default login",
        )
    if wanted:
        return Finding(
            status=WARNING,
            found="none in files; on a machine of Google Cloud its service account serves",
            remedy="elsewhere: gcloud auth application-default login",
        )
    return Finding(status=SKIPPED, found="none; only needed for gs:// paths and Vertex AI")


def check_data(data_dir: str) -> Finding:
    """The records are there, with the sizes that the manifest says."""
    from tfrecords_builder import storage
    from tfrecords_builder.errors import UserError
    from tfrecords_builder.manifest import load_manifest

    remedy = f"python -m tfrecords_builder.verify {data_dir}; build the data again"
    try:
        manifest = load_manifest(data_dir)
    except (UserError, OSError) as error:
        return Finding(status=FAILURE, found=str(error), remedy="build the data, or correct --data")
    sizes = dict(storage.list_tree(data_dir))
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    wrong = [shard.file for shard in shards if sizes.get(shard.file) != shard.num_bytes]
    if wrong:
        return Finding(
            status=FAILURE,
            found=f"{len(wrong)} of {len(shards)} record files are missing or cut: {wrong[0]}, ...",
            remedy=remedy,
        )
    num_photos = sum(split.num_examples for split in manifest.splits.values())
    return Finding(
        status=OK,
        found=f"{num_photos} photos, {len(manifest.classes)} classes in {len(shards)} files of the "
        "right size",
    )


def check_run(record: Mapping[str, Any], data_fingerprint: str | None) -> Finding:
    """The run goes with the data."""
    status = "finished" if record["finished"] else "not finished"
    found = f"{record['run_id']}, {status}, starts: {record['num_starts']}"
    if data_fingerprint and record["settings"]["data_fingerprint"] != data_fingerprint:
        return Finding(
            status=WARNING,
            found=f"{found}; trained on other records than --data",
            remedy=f"its own were at {record['data']['dir']}",
        )
    return Finding(status=OK, found=found)


def canvas_bytes(record: Mapping[str, Any]) -> int:
    """What the decoded photos of the run's largest stage take."""
    largest = max(stage["image_px"] for stage in record["settings"]["recipe"]["stages"])
    splits = record["data"]["splits"]
    side = -(-largest * 8 // 7 // 8) * 8
    return int((splits.get("train", 0) + splits.get("val", 0)) * side**2 * 3)


def _kaggle_files(environment: Mapping[str, str], home: Path) -> Iterator[Path]:
    folders = [home / ".kaggle", home / ".config" / "kaggle"]
    if named := environment.get("KAGGLE_CONFIG_DIR"):
        folders.insert(0, Path(named))
    for folder in folders:
        yield folder / "kaggle.json"
        yield folder / "access_token"


def _has_keys(path: Path, keys: tuple[str, ...]) -> bool:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError):
        return False
    return isinstance(document, dict) and all(document.get(key) for key in keys)
