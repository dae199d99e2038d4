"""Checks whether this machine is fit for training, and says what to do where it is not.

python -m trainer.doctor [--data=DATA] [--run_dir=RUN]

Uses no network and needs nothing that may be missing. Exit code 0: nothing stands in the way
(warnings included); 2: something does.
"""

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trainer.doctor import machine, software
from trainer.doctor.finding import FAILURE, SKIPPED, WARNING, Finding, examine

REPOSITORY = Path(__file__).resolve().parents[2]
EXIT_UNFIT = 2


def main() -> int:
    """Prints a line a check and returns the exit code."""
    values = _arguments()
    failures = warnings = 0
    for name, check in _checks(values.data, values.run_dir):
        finding = examine(check)
        failures += finding.status == FAILURE
        warnings += finding.status == WARNING
        print(f"{finding.status:4}  {name:12}  {finding.found}", flush=True)
        if finding.remedy:
            print(f"{'':20}-> {finding.remedy}", flush=True)
    print(f"{failures} failures, {warnings} warnings")
    return EXIT_UNFIT if failures else 0


def _arguments() -> argparse.Namespace:
    # The flags library of the other commands may be what is missing.
    parser = argparse.ArgumentParser(
        prog="python -m trainer.doctor", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--data", help="folder with built records, local or gs://")
    parser.add_argument("--run_dir", default="", help="folder of a run, present or to come")
    parser.add_argument("--helpfull", action="help", help=argparse.SUPPRESS)
    return parser.parse_args()


def _checks(data: str | None, run_dir: str) -> Iterator[tuple[str, Callable[[], Finding]]]:
    versions = functools.cache(software.installed_versions)
    home, environment = Path.home(), dict(os.environ)
    record = functools.cache(lambda: _record(run_dir))
    yield "Python", software.check_python
    yield "TensorFlow", lambda: software.check_builds(versions())
    yield "libtpu", lambda: software.check_libtpu(versions())
    yield "import", lambda: _check_import(versions())
    yield "settings", lambda: software.check_settings(environment, versions())
    yield "versions", lambda: _check_lock(versions())
    yield "memory", machine.check_memory
    yield "run folder", lambda: machine.check_disk(run_dir or ".", "--run_dir")
    yield "temporary", lambda: machine.check_temporary(_canvases(record()))
    yield "clock", _check_clock
    yield "Kaggle", lambda: machine.check_kaggle(environment, home)
    on_cloud = any(path.startswith("gs://") for path in (data or "", run_dir))
    yield "Google Cloud", lambda: machine.check_google(environment, home, on_cloud)
    if data:
        yield "data", lambda: machine.check_data(data)
    if run_dir:
        yield "run", lambda: _check_run(record(), data)
        yield "run versions", lambda: _check_run_versions(record(), versions())


def _check_import(versions: dict[str, str]) -> Finding:
    if not any(build in versions for build in software.BUILDS):
        return Finding(status=SKIPPED, found="no TensorFlow to import")
    return software.check_import(software.import_tensorflow(), versions)


def _check_lock(versions: dict[str, str]) -> Finding:
    source, wanted = software.lock_of(versions, REPOSITORY / "requirements")
    return software.check_versions(versions, wanted, source)


def _check_clock() -> Finding:
    installed = max(path.stat().st_mtime for path in Path(__file__).parent.glob("*.py"))
    return machine.check_clock(time.time(), installed, machine.clock_is_synchronized())


def _record(run_dir: str) -> dict[str, Any] | None:
    from tfrecords_builder import storage

    if not run_dir:
        return None
    try:
        record: dict[str, Any] = json.loads(storage.read_bytes(storage.join(run_dir, "run.json")))
    except FileNotFoundError:
        return None
    return record


def _canvases(record: dict[str, Any] | None) -> int:
    return machine.canvas_bytes(record) if record and not record["finished"] else 0


def _check_run(record: dict[str, Any] | None, data: str | None) -> Finding:
    if record is None:
        return Finding(status=SKIPPED, found="no run.json there: a new run")
    fingerprint = None
    if data:
        from tfrecords_builder.manifest import load_manifest

        fingerprint = load_manifest(data).fingerprint
    return machine.check_run(record, fingerprint)


def _check_run_versions(record: dict[str, Any] | None, versions: dict[str, str]) -> Finding:
    wanted = dict(record["versions"]) if record else {}
    wanted.pop("python", None)
    return software.check_versions(versions, wanted, "run.json")


if __name__ == "__main__":
    sys.exit(main())
