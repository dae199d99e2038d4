"""Custom jobs of Vertex AI: create once, look, cancel, read what they logged."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

from launch.google_rest import GoogleError, GoogleRest, endpoint
from launch.vertex_job import SUBMISSION_LABEL, VertexJob
from tfrecords_builder.errors import UserError

SUCCEEDED = "JOB_STATE_SUCCEEDED"
ENDED = (
    SUCCEEDED,
    "JOB_STATE_FAILED",
    "JOB_STATE_CANCELLED",
    "JOB_STATE_EXPIRED",
    "JOB_STATE_PARTIALLY_SUCCEEDED",
)
_NUM_TRIES = 5
_JOB_NAME = re.compile(r"projects/([^/]+)/locations/([a-z]+-[a-z]+[0-9]+)/customJobs/([0-9]+)")


class VertexClient:
    """Talks to Vertex AI and Cloud Logging; `sleep` waits between tries."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep):
        self._rest = GoogleRest(sleep)
        self._sleep = sleep

    def create(self, job: VertexJob) -> dict[str, Any]:
        """Starts a job; an answer that got lost does not start a second one.

        Raises:
            GoogleError: the service refused, or did not answer.
        """
        parent = f"projects/{job.project}/locations/{job.region}"
        url = f"{_vertex(job.region)}/v1/{parent}/customJobs"
        known = {found["name"] for found in self.same(job)}
        for number in range(1, _NUM_TRIES + 1):
            try:
                created: dict[str, Any] = self._rest.post(url, job.request(), is_repeatable=False)
                return created
            except GoogleError as error:
                if not error.may_pass:
                    raise
                # It may have been started all the same.
                self._sleep(min(30.0, 2.0**number))
                new = [found for found in self.same(job) if found["name"] not in known]
                if new:
                    return new[0]
                if number == _NUM_TRIES:
                    raise
        raise AssertionError

    def same(self, job: VertexJob) -> list[dict[str, Any]]:
        """Jobs that were submitted with the same specification, the newest first."""
        parent = f"projects/{job.project}/locations/{job.region}"
        answer = self._rest.get(
            f"{_vertex(job.region)}/v1/{parent}/customJobs",
            {"filter": f'labels.{SUBMISSION_LABEL}="{job.submission_id()}"'},
        )
        found: list[dict[str, Any]] = answer.get("customJobs", [])
        return sorted(found, key=lambda each: str(each.get("createTime", "")), reverse=True)

    def get(self, name: str) -> dict[str, Any]:
        """The job `projects/.../customJobs/ID`."""
        _, region, _ = parse_job_name(name)
        found: dict[str, Any] = self._rest.get(f"{_vertex(region)}/v1/{name}")
        return found

    def cancel(self, name: str) -> None:
        """Asks to stop a job; doing so twice does no harm."""
        _, region, _ = parse_job_name(name)
        self._rest.post(f"{_vertex(region)}/v1/{name}:cancel", {}, is_repeatable=True)

    def log_entries(self, name: str, since: str) -> list[dict[str, Any]]:
        """Log entries of a job from a time (RFC 3339) on, the oldest first."""
        project, _, number = parse_job_name(name)
        url = endpoint("logging", "https://logging.googleapis.com") + "/v2/entries:list"
        body: dict[str, Any] = {
            "resourceNames": [f"projects/{project}"],
            "filter": f'resource.type="ml_job" AND resource.labels.job_id="{number}" AND '
            f'timestamp>="{since}"',
            "orderBy": "timestamp asc",
            "pageSize": 1000,
        }
        entries: list[dict[str, Any]] = []
        while True:
            answer = self._rest.post(url, body, is_repeatable=True)
            entries += answer.get("entries", [])
            if not answer.get("nextPageToken"):
                return entries
            body["pageToken"] = answer["nextPageToken"]

    def run_record(self, job: dict[str, Any]) -> dict[str, Any] | None:
        """`run.json` of the job's run; None as long as there is none, or without a run folder."""
        from urllib.parse import quote

        output: dict[str, str] = job["jobSpec"].get("baseOutputDirectory", {})
        prefix = output.get("outputUriPrefix", "").removeprefix("gs://")
        if not prefix:
            return None
        bucket, _, folder = prefix.partition("/")
        name = "/".join(part for part in (folder.strip("/"), "checkpoints/run.json") if part)
        base = endpoint("storage", "https://storage.googleapis.com")
        try:
            record = self._rest.get(
                f"{base}/storage/v1/b/{bucket}/o/{quote(name, safe='')}", {"alt": "media"}
            )
        except GoogleError as error:
            if error.status == 404:
                return None
            raise
        return dict(json.loads(record) if isinstance(record, str) else record)


def parse_job_name(name: str) -> tuple[str, str, str]:
    """Project, region and number of `projects/P/locations/R/customJobs/N`.

    Raises:
        UserError: it is something else.
    """
    match = _JOB_NAME.fullmatch(name)
    if match is None:
        raise UserError(
            f"--job={name!r} is not the name of a job; need "
            "projects/PROJECT/locations/REGION/customJobs/NUMBER; take it from what submit printed"
        )
    return match[1], match[2], match[3]


def _vertex(region: str) -> str:
    return endpoint("aiplatform", f"https://{region}-aiplatform.googleapis.com")
