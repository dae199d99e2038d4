"""A machine of Kaggle's, as far as a pushed script can see: folders, a Python, a pip, a TPU."""

import os
import shutil
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tests.kaggle_machines import Dataset, Session

# Writes down what it was asked for; into another environment it "installs" the fakes beside it.
_PIP = """
import json, os, sys, sysconfig
here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
with open(os.path.join(here, "pip.log"), "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
sys.exit(int(os.path.exists(os.path.join(here, "no-internet"))))
"""

_TENSORFLOW = """
import os
__version__ = "2.19.1"
if {aborts}:
    os.abort()
class _Object:
    def __init__(self, **attributes): self.__dict__.update(attributes)
def _found(tpu):
    assert tpu == "local"
distribute = _Object(cluster_resolver=_Object(TPUClusterResolver=_found))
tpu = _Object(experimental=_Object(initialize_tpu_system=lambda resolver: None))
config = _Object(list_logical_devices=lambda kind: [kind] * {num_devices})
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The folder that stands for /kaggle, and what is fake on its Python's path."""

    root: Path
    fakes: Path
    python: Path

    def run(self, script: str) -> "subprocess.CompletedProcess[str]":
        """Runs a pushed script to its end, in an environment that holds nothing else."""
        moved = script.replace('ROOT = "/kaggle"', f"ROOT = {str(self.root)!r}")
        assert moved != script
        working = self.root / "working"
        working.mkdir(parents=True, exist_ok=True)
        (self.root / "script.py").write_text(moved)
        return subprocess.run(
            [self.python, self.root / "script.py"],
            cwd=working,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.root),
                "PYTHONPATH": str(self.fakes),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "CUDA_VISIBLE_DEVICES": "-1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )

    def attach(self, name: str, dataset: Dataset | Path) -> None:
        """Mounts data as Kaggle does: below input, by the name without its owner."""
        folder = self.root / "input" / name.rpartition("/")[2]
        if isinstance(dataset, Path):
            shutil.copytree(dataset, folder)
            return
        folder.mkdir(parents=True)
        for file_name, content in dataset.files.items():
            (folder / file_name).write_bytes(content)

    @property
    def pip_calls(self) -> str:
        """Everything that pip was called with."""
        return (self.fakes / "pip.log").read_text()


def make_machine(
    folder: Path, python: Path, *, tpu_cores: int | None = None, aborts: bool = False
) -> Machine:
    """Makes a machine.

    Args:
      folder: New folder for it.
      python: To run scripts with; nothing is written into its environment.
      tpu_cores: How many its TensorFlow sees; None for no fake TensorFlow.
      aborts: Whether importing TensorFlow kills the process, as a libtpu that does not fit does.
    """
    fakes = folder / "fakes"
    (fakes / "pip").mkdir(parents=True)
    (fakes / "pip" / "__init__.py").touch()
    (fakes / "pip" / "__main__.py").write_text(textwrap.dedent(_PIP))
    if tpu_cores is not None:
        text = _TENSORFLOW.format(num_devices=tpu_cores, aborts=aborts)
        (fakes / "tensorflow.py").write_text(text)
    return Machine(root=folder / "kaggle", fakes=fakes, python=python)


def run_session(machine: Machine, session: Session) -> None:
    """Runs what was pushed and leaves its log and outputs where the stand-in serves them."""
    done = machine.run(session.request["text"])
    session.lines = done.stdout.splitlines()
    working = machine.root / "working"
    session.outputs = {
        path.relative_to(working).as_posix(): path.read_bytes()
        for path in working.rglob("*")
        if path.is_file()
    }
    session.statuses = ["COMPLETE" if done.returncode == 0 else "ERROR"]
