"""Checks of what is installed: Python, TensorFlow, versions. TensorFlow is imported elsewhere:
a wrong `libtpu` ends the importing process with SIGABRT, which nothing can catch.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from trainer.doctor.finding import FAILURE, OK, SKIPPED, WARNING, Finding

BUILDS = ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tensorflow-tpu", "tf-nightly")
LIBTPU = "0.0.10"
PYTHONS = ((3, 11), (3, 14))
IMPORT_TIMEOUT_SECS = 180
_IMPORT = """
import json, os
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf
print("FOUND " + json.dumps({
    "version": tf.__version__,
    "devices": [device.device_type for device in tf.config.list_physical_devices()],
    "cuda": bool(tf.test.is_built_with_cuda()),
}))
"""


def installed_versions() -> dict[str, str]:
    """Version by normalised name of every installed distribution."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        if name := distribution.metadata["Name"]:
            found.setdefault(_normalized(name), distribution.version)
    return found


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Python is one that the project runs on."""
    text = ".".join(map(str, version))
    if PYTHONS[0] <= version[:2] < PYTHONS[1]:
        return Finding(status=OK, found=f"{text} at {sys.executable}")
    return Finding(
        status=FAILURE,
        found=text,
        remedy="make a virtual environment with Python 3.11, 3.12 or 3.13 (TPU: 3.11 or 3.12)",
    )


def check_builds(versions: Mapping[str, str]) -> Finding:
    """Exactly one build of TensorFlow is installed."""
    builds = [f"{name} {versions[name]}" for name in BUILDS if name in versions]
    if len(builds) == 1:
        return Finding(status=OK, found=builds[0])
    if not builds:
        return Finding(
            status=FAILURE,
            found="no TensorFlow",
            remedy="pip install 'staged-trainer[cpu]' (or gpu, or tpu)",
        )
    names = " ".join(build.split()[0] for build in builds)
    return Finding(
        status=FAILURE,
        found=" and ".join(builds) + ": they overwrite each other's files",
        remedy=f"pip uninstall {names}, then install exactly one of the extras cpu, gpu, tpu",
    )


def check_libtpu(versions: Mapping[str, str]) -> Finding:
    """The TPU library is the one that starts with the last TensorFlow for TPUs."""
    if "tensorflow-tpu" not in versions:
        return Finding(status=SKIPPED, found="tensorflow-tpu is not installed")
    version = versions.get("libtpu")
    if version == LIBTPU:
        return Finding(status=OK, found=version)
    return Finding(
        status=FAILURE,
        found=f"{version or 'not installed'}; newer ones abort the import of TensorFlow",
        remedy=f"pip install libtpu=={LIBTPU}",
    )


def import_tensorflow(python: str = sys.executable) -> dict[str, Any]:
    """What a process of its own says of TensorFlow: version, devices, cuda; or `error`."""
    try:
        done = subprocess.run(
            [python, "-c", _IMPORT],
            capture_output=True,
            text=True,
            timeout=IMPORT_TIMEOUT_SECS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"the import took more than {IMPORT_TIMEOUT_SECS} s"}
    for line in done.stdout.splitlines():
        if line.startswith("FOUND "):
            found: dict[str, Any] = json.loads(line.removeprefix("FOUND "))
            return found
    if done.returncode < 0:
        return {"error": f"the import ended by signal {-done.returncode}"}
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return {"error": lines[-1][:200]}


def check_import(imported: Mapping[str, Any], versions: Mapping[str, str]) -> Finding:
    """TensorFlow can be imported, and sees the devices that its build is for."""
    if "error" in imported:
        aborts = "tensorflow-tpu" in versions and "signal" in imported["error"]
        return Finding(
            status=FAILURE,
            found=imported["error"],
            remedy=f"pip install libtpu=={LIBTPU}"
            if aborts
            else "install one extra (cpu, gpu or tpu) into a new virtual environment",
        )
    devices = ", ".join(
        f"{imported['devices'].count(kind)} {kind}" for kind in dict.fromkeys(imported["devices"])
    )
    found = f"{imported['version']} sees {devices or 'no device'}"
    if "GPU" in imported["devices"] or not os.path.exists("/dev/nvidiactl"):
        return Finding(status=OK, found=found)
    return Finding(
        status=WARNING,
        found=f"{found}, but this machine has an NVIDIA GPU",
        remedy="pip install 'staged-trainer[gpu]'"
        if not imported["cuda"]
        else "check the driver with nvidia-smi, and CUDA_VISIBLE_DEVICES",
    )


def check_settings(environment: Mapping[str, str], versions: Mapping[str, str]) -> Finding:
    """No variable or package changes what Keras and TensorFlow are."""
    backend = environment.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        return Finding(
            status=FAILURE, found=f"KERAS_BACKEND={backend}", remedy="unset KERAS_BACKEND"
        )
    if environment.get("TF_USE_LEGACY_KERAS", "0").lower() in ("1", "true"):
        return Finding(
            status=FAILURE,
            found="TF_USE_LEGACY_KERAS is set; this program is written for Keras 3",
            remedy="unset TF_USE_LEGACY_KERAS",
        )
    if "tensorflow-io-gcs-filesystem" in versions:
        return Finding(
            status=WARNING,
            found="tensorflow-io-gcs-filesystem breaks gs:// in TensorFlow 2.21",
            remedy="pip uninstall tensorflow-io-gcs-filesystem",
        )
    return Finding(status=OK, found="nothing that changes Keras or TensorFlow")


def check_versions(versions: Mapping[str, str], wanted: Mapping[str, str], source: str) -> Finding:
    """What is installed is what a lock, or a run's record, names; absent packages do not count.

    All builds of TensorFlow count as one package: a run goes on with another one.
    """
    if not wanted:
        return Finding(status=SKIPPED, found=f"no versions to compare with ({source})")
    here = next((build for build in BUILDS if build in versions), "")
    differing = []
    for name, version in sorted(wanted.items()):
        found = here if name in BUILDS and name not in versions else name
        if found in versions and _public(versions[found]) != _public(version):
            there = version if found == name else f"{name} {version}"
            differing.append(f"{found} {versions[found]} (there {there})")
    if not differing:
        return Finding(status=OK, found=f"as in {source}")
    more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
    return Finding(
        status=WARNING,
        found=f"not as in {source}: {', '.join(differing[:5])}{more}",
        remedy="install the same versions if results must agree to the last digit",
    )


def lock_of(versions: Mapping[str, str], folder: Path) -> tuple[str, dict[str, str]]:
    """The lock of a checkout that fits the installed build: its name, and version by package."""
    kinds = {"tensorflow-cpu": "cpu", "tensorflow-tpu": "tpu", "tensorflow": "gpu"}
    kind = next((kind for build, kind in kinds.items() if build in versions), "cpu")
    path = folder / f"{kind}.lock"
    if not path.is_file():
        return f"{kind}.lock, which is not here", {}
    return path.name, parse_lock(path.read_text("utf-8").splitlines(), sys.version_info[:2])


def parse_lock(lines: Iterable[str], python: tuple[int, int]) -> dict[str, str]:
    """Version by package; of lines for several Pythons the one for this Python."""
    found = {}
    for line in lines:
        match = re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)\s*(?:;\s*(.*))?$", line.strip())
        if match and _applies(match[3] or "", python):
            found[_normalized(match[1])] = match[2]
    return found


def _applies(marker: str, python: tuple[int, int]) -> bool:
    for operator, text in re.findall(
        r"python_(?:full_)?version\s*(<|>=)\s*'(\d+\.\d+)[.\d]*'", marker
    ):
        border = tuple(int(part) for part in text.split("."))
        if (python < border) != (operator == "<"):
            return False
    return True


def _public(version: str) -> str:
    return version.partition("+")[0]


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
