"""Kernels and their sessions, through the official client, as plain data.

The client's own methods are used where they fail loudly; the others' requests are sent through the
service objects below them. Its download of outputs, for one, writes the page of an error into the
file (kaggle 2.2.4).
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from launch.kaggle_errors import KaggleRefused, doctor_for, explain, with_doctor
from launch.kaggle_package import launch_id
from trainer.submission.connection import CallFailed, Connection, Unanswered

T = TypeVar("T")

PAGE_SIZE = 100
CODE_FILE = "session.py"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelState:
    """A kernel as Kaggle has it."""

    launch_id: str | None
    """Of its newest version; None if it was not pushed from here."""
    version: int
    internet: bool
    machine: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionState:
    """The newest session of a kernel."""

    status: str
    """Kaggle's word in small letters: queued, running, complete, error, cancel_acknowledged ..."""
    message: str

    @property
    def is_over(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status in ("complete", "error", "cancel_acknowledged")

    def __str__(self) -> str:
        return f"{self.status} ({self.message})" if self.message else self.status


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """A saved version of a kernel, whose session has started."""

    version: int
    missing: tuple[str, ...]
    """Data sets and competitions that Kaggle could not attach."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """Hours of an accelerator this week."""

    used_hours: float
    allowed_hours: float


def print_line(line: str) -> None:
    """Prints to the true stdout: while a call is made, the client's own prints are caught."""
    print(line, file=sys.__stdout__, flush=True)


def connect(subject: str) -> Connection:
    """A connection for a verb: its errors speak of the kernel, and lead to the doctor."""
    return Connection(subject, report=print_line, explain=with_doctor(explain))


def find(connection: Connection, query: Callable[[Any], T]) -> T | None:
    """The answer to the query; None for what does not exist, for which Kaggle says 403, too.

    Raises:
      SubmissionError: Kaggle refuses in another way, or cannot be reached.
    """
    num_failed = 0
    while True:
        try:
            return connection.attempt(query)
        except CallFailed as failed:
            if failed.failure.status in (403, 404):
                return None
            num_failed += 1
            connection.wait_after(failed.failure, num_failed)


class Kernels:
    """The kernels of the connection's user."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def owner(self) -> str:
        """The user's name at Kaggle."""
        return str(self.connection.call(lambda api: api.get_config_value("username")) or "")

    def state(self, kernel: str) -> KernelState | None:
        """The kernel; None if there is none of that name."""

        def query(api: Any) -> Any:
            from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest

            request = ApiGetKernelRequest()
            request.user_name, request.kernel_slug = kernel.split("/")
            with api.build_kaggle_client() as kaggle:
                return kaggle.kernels.kernels_api_client.get_kernel(request)

        answer = find(self.connection, query)
        if answer is None:
            return None
        return KernelState(
            launch_id=launch_id(answer.blob.source or ""),
            version=int(answer.metadata.current_version_number or 0),
            internet=bool(answer.metadata.enable_internet),
            machine=answer.metadata.machine_shape or "",
        )

    def push(self, metadata: dict[str, Any], script: str, timeout_secs: int) -> Pushed:
        """Saves a version of the kernel, which starts a session; one try.

        Raises:
          CallFailed: It failed, or the answer was lost: the session may run all the same.
          KaggleRefused: It was not saved.
        """

        def save(api: Any) -> Any:
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, CODE_FILE).write_text(script, encoding="utf-8")
                text = json.dumps({**metadata, "code_file": CODE_FILE})
                Path(folder, "kernel-metadata.json").write_text(text, encoding="utf-8")
                return api.kernels_push(folder, timeout=str(timeout_secs))

        answer = self.connection.attempt(save)
        if answer.error:
            raise KaggleRefused(
                f"Kaggle did not save {metadata['id']} ({answer.error}); a kernel that it takes is "
                f"needed; see what is missing: {doctor_for(metadata)}"
            )
        invalid = (answer.invalid_dataset_sources or (), answer.invalid_competition_sources or ())
        return Pushed(version=int(answer.version_number), missing=(*invalid[0], *invalid[1]))

    def session(self, kernel: str) -> SessionState:
        """How the newest session stands."""
        answer = self.connection.call(lambda api: api.kernels_status(kernel))
        return SessionState(status=answer.status.name.lower(), message=answer.failure_message)

    def log_events(self, kernel: str, take: Callable[[str], None]) -> None:
        """Gives all lines so far, and those to come until the session ends, to `take`; one try.

        Raises:
          CallFailed: The stream broke off.
        """

        def stream(api: Any) -> None:
            for event in api.kernels_logs_stream(kernel):
                if (data := event.get("data")) is not None:
                    take(data)

        self.connection.attempt(stream)

    def log(self, kernel: str) -> str:
        """The log of the newest session as Kaggle keeps it, decoded."""
        return decode_log(self.connection.call(lambda api: api.kernels_logs(kernel)))

    def outputs(self, kernel: str) -> Iterator[tuple[str, str]]:
        """(name, signed address) of every file that the newest session left."""
        token = None
        while True:
            answer = self.connection.call(_output_page(kernel, token))
            for file in answer.files or ():
                yield file.file_name, file.url
            token = answer.next_page_token
            if not token:
                return

    def download(self, address: str, path: Path) -> str:
        """Downloads one output; returns its SHA-256. The file is there whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")

        def fetch(_: Any) -> str:
            import requests

            digest, received = hashlib.sha256(), 0
            with (
                requests.Session() as session,
                # Compressed on the way, it would not be as long as its header says.
                session.get(
                    address, stream=True, headers={"Accept-Encoding": "identity"}
                ) as response,
                open(partial, "wb") as file,
            ):
                response.raise_for_status()
                for chunk in response.iter_content(_CHUNK_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
                    received += len(chunk)
            if received != int(response.headers.get("Content-Length", received)):
                raise Unanswered("the file was cut off")
            return digest.hexdigest()

        try:
            sha256 = self.connection.call(fetch)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        return sha256

    def quota(self) -> tuple[dict[str, Quota], datetime | None]:
        """(hours of `gpu` and `tpu`, when the week ends)."""
        answer = self.connection.call(lambda api: api.quota_view())
        found = {}
        for name, quota in (("gpu", answer.gpu_quota), ("tpu", answer.tpu_quota)):
            if quota is not None and quota.total_time_allowed is not None:
                used = quota.time_used.total_seconds() if quota.time_used else 0.0
                reserved = quota.time_reserved.total_seconds() if quota.time_reserved else 0.0
                found[name] = Quota(
                    used_hours=(used + reserved) / 3600,
                    allowed_hours=quota.total_time_allowed.total_seconds() / 3600,
                )
        return found, answer.quota_refresh_time


def decode_log(text: str) -> str:
    """The lines of a log that Kaggle keeps as a JSON list of {stream_name, time, data}."""
    try:
        events = json.loads(text)
    except ValueError:
        return text
    if not isinstance(events, list):
        return text
    return "".join(str(event.get("data", "")) for event in events if isinstance(event, dict))


def _output_page(kernel: str, token: str | None) -> Callable[[Any], Any]:
    def query(api: Any) -> Any:
        from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

        request = ApiListKernelSessionOutputRequest()
        request.user_name, request.kernel_slug = kernel.split("/")
        request.page_size = PAGE_SIZE
        if token:
            request.page_token = token
        with api.build_kaggle_client() as kaggle:
            return kaggle.kernels.kernels_api_client.list_kernel_session_output(request)

    return query
