"""Starts lowering and compiling, each in a process of its own, and keeps what they found.

Imports neither TensorFlow nor jax: those are in the environment of `python`, which may be another
than this one's.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.errors import DeviceError
from trainer.lowering.lower import LoweringRequest
from trainer.lowering.program_report import CompiledProgram, OutOfMemory
from trainer.lowering.topologies import Topology

_REPOSITORY = Path(__file__).resolve().parents[2]
COMPILER_VERSION = "jax 0.10.2"
"""As the extra `aot` pins it; another compiler, other results."""
_RESULT_VERSION = 1
_NICENESS = 10


def default_cache_dir() -> Path:
    """Where results are kept: `$XDG_CACHE_HOME/staged-trainer/aot`, by default under ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(root) / "staged-trainer" / "aot"


@dataclass(frozen=True, kw_only=True, slots=True)
class CompilerProcesses:
    """How to lower and compile."""

    python: str = sys.executable
    """Interpreter of an environment with the extra `aot`."""
    cache_dir: Path = field(default_factory=default_cache_dir)
    memory_gib: float = 40.0
    """Address space of a compilation; what is resident is about a quarter of it."""

    def lower(self, request: LoweringRequest) -> bytes:
        """The step as serialised StableHLO.

        Raises:
            DeviceError: it could not be lowered; with the last line of what went wrong.
        """
        with tempfile.TemporaryDirectory() as folder:
            path, out = os.path.join(folder, "request.json"), os.path.join(folder, "step.mlir")
            with open(path, "w") as file:
                json.dump(request.to_json(), file)
            self._run(["trainer.lowering.lower", f"--request={path}", f"--out={out}"])
            return Path(out).read_bytes()

    def compile(
        self,
        module: bytes,
        topology: Topology,
        *,
        low_effort: bool,
        options: Sequence[str] = (),
    ) -> CompiledProgram | OutOfMemory:
        """Compiles, or finds what compiling the same program the same way said before.

        Raises:
            DeviceError: the compiler is not there, or ended otherwise than by running out of the
                device's memory.
        """
        flags = [f"--topology={topology.name}", *(f"--option={option}" for option in options)]
        flags += ["--low_effort"] if low_effort else []
        kept = self.cache_dir / f"{cache_key(module, topology, flags)}.json"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
                path, out = Path(folder) / "step.mlir", Path(folder) / "result.json"
                path.write_bytes(module)
                self._run(
                    [
                        "trainer.lowering.tpu_compiler",
                        f"--module={path}",
                        f"--out={out}",
                        f"--memory_gib={self.memory_gib}",
                        *flags,
                    ]
                )
                out.replace(kept)
        return result_from_json(json.loads(kept.read_text()))

    def write_portable(self, request: LoweringRequest, path: str) -> None:
        """Writes the step as portable StableHLO, which any PJRT runtime can compile and time."""
        with tempfile.TemporaryDirectory() as folder:
            module = Path(folder) / "step.mlir"
            module.write_bytes(self.lower(request))
            self._run(
                [
                    "trainer.lowering.tpu_compiler",
                    f"--module={module}",
                    "--topology=none",
                    "--portable",
                    f"--out={os.path.abspath(path)}",
                ]
            )

    def _run(self, arguments: list[str]) -> None:
        path = os.pathsep.join(filter(None, [str(_REPOSITORY), os.environ.get("PYTHONPATH")]))
        try:
            done = subprocess.run(
                [*_politely(), self.python, "-m", *arguments],
                env={**os.environ, "PYTHONPATH": path},
                capture_output=True,
                text=True,
            )
        except OSError as error:
            raise DeviceError(
                f"--aot_python={self.python} cannot be started ({error.strerror}); need the Python "
                "of an environment with the extra aot; see docs/planning.md"
            ) from error
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            reason = said[-1].removeprefix("error: ")
            raise DeviceError(
                reason
                if done.returncode == DeviceError.exit_code
                else f"{arguments[0]} ended with {done.returncode} ({reason[:300]}); need it to "
                f"succeed; give it more than {self.memory_gib:g} GiB with --compile_memory_gib, "
                "or install exactly requirements/aot.lock"
            )


def _politely() -> list[str]:
    """What makes a process nice, unless this one, and so its children, already is."""
    missing = _NICENESS - os.nice(0)
    return ["nice", "-n", str(missing)] if missing > 0 else []


def cache_key(module: bytes, topology: Topology, flags: Sequence[str]) -> str:
    """Hash of a program and of everything that decides how it is compiled."""
    text = json.dumps([_RESULT_VERSION, COMPILER_VERSION, topology.libtpu_name, sorted(flags)])
    return hashlib.sha256(module + text.encode()).hexdigest()


def result_from_json(fields: dict[str, Any]) -> CompiledProgram | OutOfMemory:
    """What the compiling process wrote."""
    kinds = {kind.__name__: kind for kind in (CompiledProgram, OutOfMemory)}
    return kinds[fields["kind"]](**{n: v for n, v in fields.items() if n != "kind"})
