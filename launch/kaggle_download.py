"""Fetches the data of a Kaggle competition and unpacks it as tfrecords_builder reads it.

    python -m launch.kaggle download --competition=sf-dl-car-classification --out=data/cars

The archive is received through the official client, which goes on where an earlier download broke
off; every unpacked file is checked against the archive's checksum. A folder that has
`download.json` is complete.
"""

import json
import os
import threading
from pathlib import Path

from absl import flags

from launch.kaggle_archive import DamagedArchive, DownloadError, find_layout, unpack
from launch.kaggle_client import print_line
from launch.kaggle_errors import with_doctor
from trainer.submission.connection import Connection
from trainer.submission.failures import error_for
from trainer.submission.file import write_atomically

RECORD = "download.json"
PROGRESS_SECS = 10.0


def define_flags() -> None:
    """Defines the verb's flags."""
    flags.DEFINE_string("competition", None, "Name in the competition's address.", required=True)
    flags.DEFINE_string("out", None, "Folder to unpack into; data/<competition> by default.")


def main() -> None:
    """Downloads the data and prints the command that builds records of it."""
    competition = flags.FLAGS.competition
    out = Path(flags.FLAGS.out or Path("data") / competition)
    explain = with_doctor(error_for, f" --competition={competition}")
    names = download(Connection(competition, report=print_line, explain=explain), out)
    command = find_layout(names).builder_command(out, f"{out}-records")
    if command is None:
        print_line(
            f"no labelled photos recognised in {out}; look at its files and build as they need"
        )
    else:
        print_line(f"build records of it with:\n{command}")


def download(connection: Connection, out: Path) -> list[str]:
    """Downloads and unpacks the data of the connection's competition.

    Interrupted at any point, it goes on when called again; complete, it does nothing.

    Args:
      connection: To Kaggle.
      out: Folder to unpack into; made when missing.

    Returns:
      Names of the unpacked files, relative to `out`, sorted.

    Raises:
      SubmissionError: Kaggle refuses: no credentials, rules not accepted, no such competition.
      KaggleUnavailable: Kaggle cannot be reached, or the download broke off too often.
      DownloadError: A damaged archive, which is then removed, no space, or a folder with another
        competition's data.
    """
    finished = _finished(connection.competition, out)
    if finished is not None:
        connection.report(f"{out} holds all {len(finished)} files already")
        return finished
    out.mkdir(parents=True, exist_ok=True)
    archive = out / f"{connection.competition}.zip"
    with _SizeReports(archive, connection):
        connection.call(
            lambda api: api.competition_download_files(connection.competition, path=str(out))
        )
    try:
        sizes = dict(unpack(archive, out))
    except DamagedArchive:
        archive.unlink()
        raise
    record = {"competition": connection.competition, "files": dict(sorted(sizes.items()))}
    write_atomically(out / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    archive.unlink()
    connection.report(f"{len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB, in {out}")
    return sorted(sizes)


def _finished(competition: str, out: Path) -> list[str] | None:
    """The files of a complete download; None if there is something left to do."""
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if record["competition"] != competition:
        raise DownloadError(
            f"{out} holds the data of {record['competition']!r}; an empty folder is needed for "
            f"{competition!r}; choose another --out"
        )
    files: dict[str, int] = record["files"]
    whole = all(
        (out / name).is_file() and (out / name).stat().st_size == size
        for name, size in files.items()
    )
    return sorted(files) if whole else None


class _SizeReports:
    """Reports the growing size of a file every ten seconds: the client's own bar is caught."""

    def __init__(self, path: Path, connection: Connection) -> None:
        self._path, self._connection = path, connection
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(PROGRESS_SECS):
            if self._path.exists():
                megabytes = os.path.getsize(self._path) / 1e6
                self._connection.report(f"{self._path.name}: {megabytes:.0f} MB received")
