"""What a job on Vertex AI printed.

python -m launch.vertex logs --follow --job=projects/P/locations/R/customJobs/N
"""

import datetime
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from absl import flags

if TYPE_CHECKING:
    from launch.vertex_client import VertexClient

FLAGS = flags.FLAGS
_SECS_BETWEEN_LOOKS = 10.0
_THE_BEGINNING = "1970-01-02T00:00:00Z"
_LATEST_SECS = 60
"""How much later than others of its time an entry, of another machine say, may show up."""


def define_flags() -> None:
    """Defines the flags of this verb."""
    flags.DEFINE_string("job", None, "Name of the job, as submit prints it.", required=True)
    flags.DEFINE_bool("follow", False, "Go on until the job has ended.")


def main() -> None:
    """Prints the log; with --follow also each restart."""
    from launch.vertex_client import VertexClient

    for line in log_lines(VertexClient(), FLAGS.job, FLAGS.follow):
        print(line, flush=True)


def log_lines(
    client: "VertexClient",
    job: str,
    follow: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """Yields each entry once, and a line when the machine was taken away and when it is back."""
    from launch.vertex_client import ENDED

    since, seen = _THE_BEGINNING, set[str]()
    state, num_restarts = "", 0
    while True:
        before, state = state, client.get(job).get("state", "")
        if before == "JOB_STATE_RUNNING" and state == "JOB_STATE_PENDING":
            num_restarts += 1
            yield f"-- the machine was taken away; waiting for another (restart {num_restarts})"
        elif before == "JOB_STATE_PENDING" and state == "JOB_STATE_RUNNING" and num_restarts:
            yield "-- running again, from the last checkpoint"
        for entry in client.log_entries(job, _earlier(since)):
            if entry["insertId"] not in seen:
                seen.add(entry["insertId"])
                since = max(since, entry["timestamp"])
                yield f"{entry['timestamp'][:19]}  {_message(entry)}"
        if not follow or state in ENDED:
            if follow:
                restarts = f" after {num_restarts} restarts" if num_restarts else ""
                yield f"-- {state.removeprefix('JOB_STATE_').lower()}{restarts}"
            return
        sleep(_SECS_BETWEEN_LOOKS)


def _earlier(timestamp: str) -> str:
    """The time up to which all entries have shown up, now that one of `timestamp` has."""
    time = datetime.datetime.fromisoformat(timestamp[:19])
    return f"{(time - datetime.timedelta(seconds=_LATEST_SECS)).isoformat()}Z"


def _message(entry: dict[str, Any]) -> str:
    payload = entry.get("jsonPayload", {})
    return str(entry.get("textPayload") or payload.get("message") or payload).rstrip()
