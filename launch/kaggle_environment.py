"""The Python that a session trains with: installed, proven to see its devices, and called."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from launch.kaggle_contract import NUM_DEVICES
from launch.kaggle_input import SessionError

PROOF_TIMEOUT_SECS = 300
JOB_START_VARIABLE = "TRAINER_JOB_START"
"""That of trainer.engine.stop, which needs more than the standard library."""
KINDS = {"tpu": "TPU", "gpu": "GPU", "cpu": "CPU"}
"""TensorFlow's name of the devices of each accelerator."""

_PROOF = """
import json, sys
import tensorflow as tf
kind = sys.argv[1]
if kind == "TPU":
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
    tf.tpu.experimental.initialize_tpu_system(resolver)
devices = len(tf.config.list_logical_devices(kind))
print("proof " + json.dumps({"tensorflow": tf.__version__, "devices": devices}))
"""


class TrainingEnvironment:
    """What commands of a session are run with.

    Args:
      accelerator: tpu, gpu or cpu.
      temp: Folder for what is not kept; the packages are in its `code`.
      started: When the session started, in seconds since 1970.
    """

    def __init__(self, accelerator: str, temp: Path, started: float) -> None:
        self._accelerator, self._temp, self._started = accelerator, temp, started
        self._python = Path(sys.executable)
        path = filter(None, (str(temp / "code"), os.environ.get("PYTHONPATH")))
        self._variables: Mapping[str, str] = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONUNBUFFERED": "1",
            JOB_START_VARIABLE: repr(started),
        }

    def install(self, requirements: Sequence[str]) -> None:
        """Installs what is needed, on a TPU into an environment of its own.

        Raises:
          SessionError: pip cannot.
        """
        pip = [sys.executable, "-m", "pip"]
        if self._accelerator == "tpu":
            # Beside the image's packages, not over them: its tensorflow-cpu shares files with
            # tensorflow-tpu. Without pip: not every image has ensurepip.
            folder = self._temp / "environment"
            say("making an environment with the pinned TensorFlow for TPUs")
            if self._call([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)]):
                raise SessionError(
                    "no virtual environment could be made; one is needed for the TPU's TensorFlow; "
                    "see the lines above"
                )
            self._python = folder / "bin" / "python"
            pip += ["--python", str(self._python)]
        pins = self._temp / "requirements.txt"
        pins.write_text("\n".join(requirements) + "\n")
        flags = ("--quiet", "--disable-pip-version-check", "--no-input", "-r", str(pins))
        if self._call([*pip, "install", *flags]):
            raise SessionError(
                "pip could not install what the trainer needs; a session with internet is needed; "
                "verify the phone number of the account at https://www.kaggle.com/settings, which "
                "turns the internet switch of its kernels on, and push again"
            )

    def prove(self) -> None:
        """Counts the devices that TensorFlow sees, in a process that cannot take us down.

        A libtpu that does not fit aborts the process without an exception. A CPU is always there,
        and costs no quota.

        Raises:
          SessionError: Fewer than there should be.
        """
        if self._accelerator == "cpu":
            return
        kind, wanted = KINDS[self._accelerator], NUM_DEVICES[self._accelerator]
        try:
            done = subprocess.run(
                [str(self._python), "-c", _PROOF, kind],
                env=self._variables,
                capture_output=True,
                text=True,
                timeout=PROOF_TIMEOUT_SECS,
                check=False,
            )
            output, code = done.stdout + done.stderr, str(done.returncode)
        except subprocess.TimeoutExpired:
            output, code = "", f"none within {PROOF_TIMEOUT_SECS} s"
        proofs = [line for line in output.splitlines() if line.startswith("proof ")]
        if not proofs:
            for line in output.splitlines()[-15:]:
                say(f"  {line}")
            raise SessionError(
                f"TensorFlow could not look for the {kind}s (exit code {code}, its last lines are "
                f"above); {wanted} are needed; this session stops before it costs more quota"
            )
        found = json.loads(proofs[-1].removeprefix("proof "))
        if found["devices"] < wanted:
            raise SessionError(
                f"TensorFlow {found['tensorflow']} sees {found['devices']} {kind} devices; "
                f"{wanted} are needed; this session stops before it costs more quota: look at the "
                "accelerator in the kernel's settings and push again"
            )
        say(
            f"TensorFlow {found['tensorflow']} sees {found['devices']} {kind} devices, "
            f"{time.time() - self._started:.0f} s after the start"
        )

    def run_module(self, module: str, *flags: str) -> int:
        """Runs a module of the packages to its end; returns its exit code."""
        return self._call([str(self._python), "-m", module, *flags])

    def _call(self, command: Sequence[str]) -> int:
        """Runs a command; its lines go to the log, SIGTERM goes to it. Returns its exit code.

        Its output is read and printed: under a notebook runner ours is not the log.
        """
        with subprocess.Popen(
            command,
            env=self._variables,
            cwd=self._temp,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    print(line, end="", flush=True)
            finally:
                signal.signal(signal.SIGTERM, before)
        code = process.returncode
        return 128 - code if code < 0 else code


def say(line: str) -> None:
    """Prints a line of the session's own into the log."""
    print(f"[kaggle] {line}", flush=True)
