"""The processes of one start: their environment, their output merged line by line, their end."""

import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import IO, TextIO

_PR_SET_PDEATHSIG = 1


def free_ports(num: int) -> list[int]:
    """Different ports that nothing on this machine listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(num)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]


def worker_environments(
    num_workers: int, ports: Sequence[int], num_cores: int, gpus_per_worker: int | None = None
) -> list[dict[str, str]]:
    """What each worker's environment has more than ours: who it is, and its share of the machine.

    Args:
        ports: one a worker, see `free_ports`.
        num_cores: shared evenly; more threads than cores would only get in each other's way.
        gpus_per_worker: the first worker gets GPUs 0 to K-1, the next one K to 2K-1; 0 hides all;
            None leaves them as they are.
    """
    environments = []
    threads = str(max(1, num_cores // num_workers))
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    for index in range(num_workers):
        environment = {"PYTHONUNBUFFERED": "1"}
        if num_workers > 1:
            task = {"type": "worker", "index": index}
            environment |= {
                "TF_CONFIG": json.dumps({"cluster": cluster, "task": task}),
                "TF_NUM_INTRAOP_THREADS": threads,
                "TF_NUM_INTEROP_THREADS": threads,
            }
        if gpus_per_worker is not None:
            first = index * gpus_per_worker
            gpus = range(first, first + gpus_per_worker)
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus)) or "-1"
        environments.append(environment)
    return environments


class Processes:
    """Runs one command once for each environment.

    With several, each line of output starts with `[worker 0] `; a line `error: ...` that several
    of them print is shown once and bare. A single one writes to our output by itself, so that its
    live line stays alive. If we are killed, they get SIGTERM (Linux).

    Attributes:
        output_error: why our own output takes no more lines, which are dropped from then on.
    """

    def __init__(self, command: Sequence[str], environments: Sequence[Mapping[str, str]]):
        self._merged = len(environments) > 1
        self._selector = selectors.DefaultSelector()
        self._unfinished: dict[IO[bytes], bytes] = {}
        self._errors: set[str] = set()
        self.output_error: OSError | None = None
        pipe = subprocess.PIPE if self._merged else None
        self._processes: list[subprocess.Popen[bytes]] = []
        for index, environment in enumerate(environments):
            process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdout=pipe,
                stderr=pipe,
                # Ctrl-C is for us; we tell them in order.
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
            self._processes.append(process)
            for stream, out in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
                if stream is not None:
                    os.set_blocking(stream.fileno(), False)
                    self._unfinished[stream] = b""
                    self._selector.register(stream, selectors.EVENT_READ, (index, out))

    def codes(self) -> list[int | None]:
        """Exit codes by worker: None while it runs, minus the signal where one killed it."""
        return [process.poll() for process in self._processes]

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to those that still run."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(number)

    def pump(self, wait_secs: float) -> None:
        """Passes output on for up to `wait_secs`."""
        # Without streams this is a sleep.
        for key, _ in self._selector.select(wait_secs):
            self._read(key)

    def close(self) -> None:
        """Kills what still runs and passes on the rest of the output."""
        self.send(signal.SIGKILL)
        for process in self._processes:
            process.wait()
        for key in list(self._selector.get_map().values()):
            self._read(key)
            self._show(key, self._unfinished.pop(key.fileobj, b""))  # type: ignore[call-overload]
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _read(self, key: selectors.SelectorKey) -> None:
        stream: IO[bytes] = key.fileobj  # type: ignore[assignment]
        while True:
            try:
                chunk = os.read(stream.fileno(), 1 << 16)
            except BlockingIOError:
                return
            *lines, self._unfinished[stream] = (self._unfinished[stream] + chunk).split(b"\n")
            for line in lines:
                self._show(key, line + b"\n")
            if not chunk:
                self._show(key, self._unfinished.pop(stream))
                self._selector.unregister(stream)
                stream.close()
                return

    def _show(self, key: selectors.SelectorKey, line: bytes) -> None:
        if not line:
            return
        index, out = key.data
        text = line.decode(errors="replace").rstrip("\n")
        if text.startswith("error: "):
            if text not in self._errors:
                self._errors.add(text)
                self._print(text, out)
        else:
            self._print(f"[worker {index}] {text}", out)

    def _print(self, text: str, out: TextIO) -> None:
        if self.output_error is None:
            try:
                print(text, file=out, flush=True)
            except OSError as error:
                self.output_error = error


def _end_with_parent() -> None:
    """In a new process: SIGTERM when the one that started it is gone, so that none is orphaned."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
