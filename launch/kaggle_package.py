"""The one file that a push carries: the packages, what they need, and the session's settings."""

import base64
import hashlib
import importlib.metadata
import io
import json
import re
import tarfile
import textwrap
import tomllib
from dataclasses import asdict
from pathlib import Path

from launch.kaggle_contract import KernelSettings
from tfrecords_builder.errors import UserError

PACKAGES = ("launch", "tfrecords_builder", "trainer")
MAX_SCRIPT_BYTES = 1_000_000
"""Kaggle answers a larger one with "The kernel source must be less than 1 megabytes in size"."""
_DISTRIBUTION = "staged-trainer"
_NOT_CARRIED = (".pyc", ".so")
_TAG = "# staged-trainer launch "

_SCRIPT = '''\
{tag}
"""Made by `python -m launch.kaggle push`; unpacks the trainer and runs one session of it."""
import base64
import io
import json
import os
import sys
import tarfile
import time

STARTED = time.time()
ROOT = "/kaggle"
SETTINGS = json.loads({settings!r})
PACKAGE = """
{package}
"""

code = os.path.join(ROOT, "temp", "staged-trainer", "code")
os.makedirs(code, exist_ok=True)
with tarfile.open(fileobj=io.BytesIO(base64.b64decode(PACKAGE)), mode="r:xz") as archive:
    archive.extractall(code, filter="data")
sys.path.insert(0, code)

from launch.kaggle_kernel import run

exit_code = run(ROOT, SETTINGS, STARTED)
if exit_code:
    raise SystemExit(exit_code)
'''


class PackageError(UserError):
    """The project cannot be packed into one file."""


def make_script(settings: KernelSettings, packages: Path | None = None) -> str:
    """The script of a session; the same settings and sources give the same text.

    Args:
      settings: Of the session.
      packages: Folder that holds the packages; where they are imported from by default.

    Raises:
      PackageError: It is larger than a push can carry.
    """
    package = "\n".join(textwrap.wrap(base64.b64encode(pack(packages or _home())).decode(), 100))
    text = json.dumps(asdict(settings), sort_keys=True)
    digest = hashlib.sha256(f"{text}\n{package}".encode()).hexdigest()[:16]
    script = _SCRIPT.format(tag=_TAG + digest, settings=text, package=package)
    size = len(script.encode())
    if size > MAX_SCRIPT_BYTES:
        raise PackageError(
            f"the packed project takes {size / 1e3:.0f} kB; a push carries one file of at most "
            f"{MAX_SCRIPT_BYTES / 1e3:.0f} kB; remove what is not code from {packages or _home()}"
        )
    return script


def launch_id(script: str) -> str | None:
    """What tells the script of one session from every other; None for a script not made here."""
    first = script.partition("\n")[0]
    return first.removeprefix(_TAG) if first.startswith(_TAG) else None


def pack(folder: Path) -> bytes:
    """The packages below the folder as .tar.xz; the same files give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as archive:
        for name in PACKAGES:
            for path in sorted((folder / name).rglob("*")):
                if not path.is_file() or path.suffix in _NOT_CARRIED:
                    continue
                member = tarfile.TarInfo(path.relative_to(folder).as_posix())
                content = path.read_bytes()
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def requirements(accelerator: str) -> tuple[str, ...]:
    """What pip installs before the session trains.

    On a TPU: all pins of requirements/tpu.lock (of an installed project: its extra `tpu`), for an
    environment of its own, since the image brings a TensorFlow that sees no TPU. Else what the
    project needs beside the image's TensorFlow.

    Raises:
      PackageError: There is neither a source tree nor an installed project.
    """
    home = _home()
    lock = home / "requirements" / "tpu.lock"
    if accelerator == "tpu" and lock.is_file():
        lines = [line.partition("#")[0].strip() for line in lock.read_text().splitlines()]
        return tuple(line for line in lines if line)
    base, extras = _declared(home)
    if accelerator == "tpu":
        return (*base, *extras["tpu"])
    keras = [line for line in extras["cpu"] if line.startswith("keras")]
    return (*base, *keras)


def _declared(home: Path) -> tuple[list[str], dict[str, list[str]]]:
    """(dependencies, those of each extra), as declared."""
    if (home / "pyproject.toml").is_file():
        project = tomllib.loads((home / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return project["dependencies"], project["optional-dependencies"]
    try:
        lines = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        raise PackageError(
            f"{_DISTRIBUTION} is neither installed nor started from its source tree; its list of "
            "dependencies is needed; install it: pip install ."
        ) from None
    base, extras = [], {"cpu": list[str](), "tpu": list[str]()}
    for line in lines:
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        extra = re.search(r"extra == [\"'](\w+)[\"']", marker)
        if extra is None:
            base.append(requirement)
        elif extra[1] in extras:
            extras[extra[1]].append(requirement)
    return base, extras


def _home() -> Path:
    return Path(__file__).resolve().parents[1]
