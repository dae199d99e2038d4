"""The part of the stand-in of Kaggle that has kernels, sessions and data sets.

Answers as api.kaggle.com does to kaggle 2.2.4: 403 for a kernel that does not exist, sources that
cannot be attached in a list beside a success, default-valued fields left out.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_SOURCE_BYTES = 1_000_000


class Refused(Exception):
    """A request answered with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(kw_only=True)
class Session:
    """One run of a version of a kernel."""

    number: int
    request: dict[str, Any]
    """The SaveKernel request that started it."""
    statuses: list[str] = field(default_factory=lambda: ["COMPLETE"])
    """What the next polls are answered with; the last one stays."""
    failure: str = ""
    lines: list[str] = field(default_factory=list)
    outputs: dict[str, bytes] = field(default_factory=dict)

    def poll(self) -> str:
        """Status at this moment."""
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


@dataclass(kw_only=True)
class Dataset:
    """A data set, of which only the newest version is kept."""

    files: dict[str, bytes]
    description: str
    version: int = 1
    polls_until_ready: int = 1


@dataclass(kw_only=True)
class Machines:
    """Everything of one account."""

    kernels: dict[str, list[Session]] = field(default_factory=dict)
    """Sessions of each OWNER/NAME, oldest first."""
    datasets: dict[str, Dataset] = field(default_factory=dict)
    quota_hours: dict[str, tuple[float, float]] = field(
        default_factory=lambda: {"gpuQuota": (1.5, 30.0), "tpuQuota": (0.0, 20.0)}
    )
    """(used, allowed)."""
    closed: set[str] = field(default_factory=set)
    """Competitions whose data cannot be attached: their rules are not accepted."""
    internet_allowed: bool = True
    on_start: Callable[[Session], None] | None = None
    """Called with every session that starts: may run it."""
    page_size: int = 2
    """The longest page of outputs that is given."""
    cut_logs_after: int | None = None
    """Events after which the next stream breaks off."""

    def answer(self, call: str, body: dict[str, Any], state: Any) -> dict[str, Any] | None:
        """The answer to a request, or None if it is not about kernels and data sets."""
        known = {
            "GetKernel": self._get_kernel,
            "SaveKernel": self._save_kernel,
            "GetKernelSessionStatus": self._status,
            "GetAcceleratorQuotaStatistics": self._quota,
            "GetDataset": self._get_dataset,
            "GetDatasetStatus": self._dataset_status,
        }
        if call in known:
            return known[call](body)
        if call == "ListKernelSessionOutput":
            return self._outputs(body, state)
        if call == "CreateDataset":
            return self._create_dataset(
                f"{body['ownerSlug']}/{body['slug']}", body, state, is_new=True
            )
        if call == "CreateDatasetVersion":
            name = f"{body['ownerSlug']}/{body['datasetSlug']}"
            return self._create_dataset(name, body["body"], state, is_new=False)
        return None

    def newest(self, body: dict[str, Any]) -> Session:
        """The newest session of the kernel that the request names."""
        sessions = self.kernels.get(f"{body['userName']}/{body['kernelSlug']}")
        if not sessions:
            raise Refused(403, "Permission 'kernels.get' was denied")
        return sessions[-1]

    def log_stream(self, owner: str, name: str) -> Iterator[bytes]:
        """Server-sent events of the newest session; breaks off if told to."""
        session = self.newest({"userName": owner, "kernelSlug": name})
        cut, self.cut_logs_after = self.cut_logs_after, None
        for index, line in enumerate(list(session.lines)):
            if index == cut:
                raise ConnectionAbortedError
            yield f"data: {json.dumps({'stream_name': 'stdout', 'data': line})}\n\n".encode()
        yield b"data: END_OF_LOG\n\n"

    def _get_kernel(self, body: dict[str, Any]) -> dict[str, Any]:
        session = self.newest(body)
        request = session.request
        return {
            "metadata": {
                "ref": request["slug"],
                "currentVersionNumber": session.number,
                "enableInternet": request.get("enableInternet", False) and self.internet_allowed,
                "machineShape": request.get("machineShape", ""),
            },
            "blob": {"source": request["text"], "kernelType": "script"},
        }

    def _save_kernel(self, body: dict[str, Any]) -> dict[str, Any]:
        if len(body["text"].encode()) >= MAX_SOURCE_BYTES:
            raise Refused(400, "The kernel source must be less than 1 megabytes in size.")
        if body.get("dockerImage") or body.get("dockerImagePinningType"):
            return {"error": "a pinned docker image"}
        for kind, hours in self.quota_hours.items():
            used, allowed = hours
            if used >= allowed and body.get(f"enable{kind[:3].title()}"):
                return {"error": f"Maximum weekly quota of {allowed:.2f} hours reached."}
        sessions = self.kernels.setdefault(body["slug"], [])
        session = Session(number=len(sessions) + 1, request=body)
        sessions.append(session)
        missing = [name for name in body.get("datasetDataSources", ()) if name not in self.datasets]
        closed = [name for name in body.get("competitionDataSources", ()) if name in self.closed]
        if self.on_start is not None:
            self.on_start(session)
        return {
            "ref": body["slug"],
            "url": f"https://www.kaggle.com/code/{body['slug']}",
            "versionNumber": session.number,
            **({"invalidDatasetSources": missing} if missing else {}),
            **({"invalidCompetitionSources": closed} if closed else {}),
        }

    def _status(self, body: dict[str, Any]) -> dict[str, Any]:
        session = self.newest(body)
        status = session.poll()
        answer = {} if status == "QUEUED" else {"status": status}
        return {**answer, **({"failureMessage": session.failure} if session.failure else {})}

    def _outputs(self, body: dict[str, Any], state: Any) -> dict[str, Any]:
        session = self.newest(body)
        names = sorted(session.outputs)
        start = int(body.get("pageToken") or 0)
        end = start + self.page_size
        files = []
        for name in names[start:end]:
            token = f"blob-{len(state.blobs)}"
            state.blobs[token] = (name, session.outputs[name])
            files.append({"fileName": name, "url": state.signed(f"/output/{token}")})
        log = json.dumps([{"stream_name": "stdout", "data": f"{x}\n"} for x in session.lines])
        return {
            "log": log if session.lines else "",
            "files": files,
            **({"nextPageToken": str(end)} if end < len(names) else {}),
        }

    def _quota(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "quotaRefreshTime": "2026-11-28T00:00:00.000Z",
            **{
                name: {"timeUsed": f"{used * 3600:.0f}s", "totalTimeAllowed": f"{all_ * 3600:.0f}s"}
                for name, (used, all_) in self.quota_hours.items()
            },
        }

    def _dataset(self, body: dict[str, Any]) -> Dataset:
        name = f"{body['ownerSlug']}/{body['datasetSlug']}"
        if name not in self.datasets:
            raise Refused(404, "Not found")
        return self.datasets[name]

    def _get_dataset(self, body: dict[str, Any]) -> dict[str, Any]:
        dataset = self._dataset(body)
        return {"currentVersionNumber": dataset.version, "description": dataset.description}

    def _dataset_status(self, body: dict[str, Any]) -> dict[str, Any]:
        dataset = self._dataset(body)
        dataset.polls_until_ready -= 1
        return {"status": "BLOBS_RECEIVED" if dataset.polls_until_ready >= 0 else "READY"}

    def _create_dataset(
        self, name: str, body: dict[str, Any], state: Any, *, is_new: bool
    ) -> dict[str, Any]:
        if is_new and name in self.datasets:
            raise Refused(409, "a data set of that name exists")
        files = {}
        for file in body.get("files", ()):
            file_name, content = state.blobs[file["token"]]
            if len(content) != state.blob_sizes[file["token"]]:
                raise Refused(400, f"{file_name} was not uploaded")
            files[file_name] = content
        version = self.datasets[name].version + 1 if name in self.datasets else 1
        self.datasets[name] = Dataset(
            files=files, description=body.get("description", ""), version=version
        )
        return {"ref": f"/{name}", "status": "ok"}
