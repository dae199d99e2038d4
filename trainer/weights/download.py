"""Large files from the web: once, with progress, resumable, checked, with their checksum on record.

`<name>.part` and `<name>.part.json` are a download under way; `<name>` and `<name>.sha256` (as
`sha256sum` writes it) a finished one. A finished file is checked against its record on every use.
"""

import base64
import fcntl
import hashlib
import http.client
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from trainer.weights.tensors import WeightsError

MAX_ATTEMPTS = 5
TIMEOUT_SECS = 60.0
_CHUNK_BYTES = 1 << 20
_PASSING = (408, 416, 429, 500, 502, 503, 504)


class _Interrupted(Exception):
    """The connection broke; what has come so far is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Announced:
    """What the server says of the whole file."""

    etag: str
    size: int | None
    md5: str | None
    """In base64, as Google Cloud Storage sends it."""


def cache_folder() -> Path:
    """Where downloads are kept: `$XDG_CACHE_HOME` or `~/.cache`, then `staged-trainer/weights`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(root) / "staged-trainer" / "weights"


def fetch(url: str, folder: Path, sleep: Callable[[float], None] = time.sleep) -> Path:
    """The file at `url`, downloaded into `folder` unless it is there already.

    An interrupted download is taken up where it stopped, in this call or in a later one, if the
    server still has the same file (its ETag). The result is checked against the size and the MD5
    that the server names. A second process that wants the same file waits for the first.

    Args:
        url: http or https address; its last part names the file.
        folder: made if missing.
        sleep: called between attempts with the seconds to wait.

    Raises:
        WeightsError: no network, no such file, no space, or a file that is not what was announced.
    """
    target = folder / url.rpartition("/")[2]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with target.with_name(target.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if target.is_file():
                _check_record(target)
            else:
                _fetch_new(url, target, sleep)
    except OSError as error:
        raise WeightsError(
            f"{folder} cannot keep downloads ({error.strerror}); make room, or set XDG_CACHE_HOME "
            "to another place"
        ) from error
    return target


def _fetch_new(url: str, target: Path, sleep: Callable[[float], None]) -> None:
    part = target.with_name(target.name + ".part")
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            announced = _download(url, part)
            break
        except _Interrupted as error:
            if attempt == MAX_ATTEMPTS:
                have = part.stat().st_size if part.is_file() else 0
                raise WeightsError(
                    f"{url} could not be downloaded in {MAX_ATTEMPTS} attempts ({error}); {have:,} "
                    "bytes are kept: start the same command again to go on, or download the file "
                    "elsewhere and give its path"
                ) from error
            sleep(2.0 ** (attempt - 1))
    digest = _check_download(url, part, announced)
    # The record first: a record without its file does no harm.
    _record_of(target).write_text(f"{digest}  {target.name}\n")
    part.replace(target)
    _state_of(part).unlink()


def _download(url: str, part: Path) -> _Announced:
    """One attempt. Goes on with `part` if that is allowed; returns when the file is whole.

    Raises:
        _Interrupted: it may work the next time.
        WeightsError: it will not.
    """
    announced = _begun(part)
    have = part.stat().st_size if announced else 0
    if announced and have == announced.size:
        return announced
    headers = {"User-Agent": "staged-trainer", "Accept-Encoding": "identity"}
    if announced:
        headers |= {"Range": f"bytes={have}-", "If-Range": announced.etag}
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECS) as response:
            # 200 in answer to a range: the file has changed, or the server knows no ranges.
            if announced is None or response.status != 206:
                announced, have = _read_announced(response.headers), 0
                _state_of(part).write_text(json.dumps(asdict(announced)))
            with part.open("ab" if have else "wb") as stream:
                _copy(response, stream, part, announced)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            part.unlink(missing_ok=True)
        if error.code in _PASSING:
            raise _Interrupted(f"the server answers {error.code} {error.reason}") from error
        raise WeightsError(
            f"{url} cannot be had: the server answers {error.code} {error.reason}; "
            "check that there are such weights, or download them elsewhere and give the path"
        ) from error
    except urllib.error.URLError as error:
        raise _Interrupted(str(error.reason)) from error
    except (http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        raise _Interrupted(str(error) or type(error).__name__) from error
    return announced


def _begun(part: Path) -> _Announced | None:
    """What was announced when `part` was begun; None if it cannot be gone on with."""
    if not (part.is_file() and _state_of(part).is_file()):
        return None
    try:
        announced = _Announced(**json.loads(_state_of(part).read_text()))
    except (ValueError, TypeError):
        return None
    return announced if announced.etag else None


def _read_announced(headers: http.client.HTTPMessage) -> _Announced:
    length = str(headers.get("Content-Length", ""))
    hashes = ",".join(headers.get_all("x-goog-hash", [])).split(",")
    md5 = [part.strip().removeprefix("md5=") for part in hashes if part.strip().startswith("md5=")]
    return _Announced(
        etag=str(headers.get("ETag", "")),
        size=int(length) if length.isdecimal() else None,
        md5=md5[0] if md5 else None,
    )


def _copy(response: IO[bytes], stream: IO[bytes], part: Path, announced: _Announced) -> None:
    from tqdm import tqdm

    begun = stream.seek(0, os.SEEK_END)
    with tqdm(
        total=announced.size,
        initial=begun,
        unit="B",
        unit_scale=True,
        desc=part.name.removesuffix(".part"),
        mininterval=0.5 if sys.stderr.isatty() else 10,
    ) as progress:
        while chunk := response.read(_CHUNK_BYTES):
            stream.write(chunk)
            progress.update(len(chunk))
    have = stream.tell()
    if announced.size is not None and have < announced.size:
        raise _Interrupted(f"the connection closed after {have:,} of {announced.size:,} bytes")


def _check_download(url: str, part: Path, announced: _Announced) -> str:
    """The sha256 of a complete download; a wrong one is deleted."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with part.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            sha256.update(chunk)
            md5.update(chunk)
    received = base64.b64encode(md5.digest()).decode()
    size = part.stat().st_size
    if announced.size not in (None, size) or announced.md5 not in (None, received):
        part.unlink()
        _state_of(part).unlink()
        raise WeightsError(
            f"{url} came as {size:,} bytes with MD5 {received}, but the server announced "
            f"{announced.size} bytes with MD5 {announced.md5}; the download is deleted: "
            "start again"
        )
    return sha256.hexdigest()


def _check_record(target: Path) -> None:
    record = _record_of(target)
    if not record.is_file():
        raise WeightsError(
            f"{target} has no record of its checksum ({record.name}), so it was not downloaded by "
            "this program; delete it to download it again, or give its path as weights"
        )
    recorded = record.read_text().split()[:1]
    with target.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if recorded != [digest]:
        raise WeightsError(
            f"{target} has sha256 {digest}, but {record.name} says {' '.join(recorded)}; the file "
            "is damaged: delete both to download it again"
        )


def _record_of(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _state_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")
