"""How a job on Vertex AI stands.

python -m launch.vertex status --job=projects/P/locations/R/customJobs/N
"""

import re
from collections.abc import Mapping
from typing import Any

from absl import flags

FLAGS = flags.FLAGS
_EXIT_CODES = {
    2: "something given cannot be used; the log's last line says what",
    3: "training cannot go on; the last checkpoint is whole",
    74: "another machine was lost; submit the same again to go on",
    75: "stopped on purpose; submit the same again to go on",
    137: "killed, most often for want of memory; take a bigger machine, or --cache=disk",
}


def define_flags() -> None:
    """Defines the flags of this verb."""
    flags.DEFINE_string("job", None, "Name of the job, as submit prints it.", required=True)


def main() -> None:
    """Prints state, times, what the run has reached, and why it failed."""
    from launch.vertex_client import VertexClient

    client = VertexClient()
    job = client.get(FLAGS.job)
    for line in describe_job(job, client.run_record(job)):
        print(line)


def describe_job(job: Mapping[str, Any], record: Mapping[str, Any] | None) -> list[str]:
    """Lines for people.

    Args:
        job: as the service answers.
        record: `run.json` of its run, None as long as there is none.
    """
    lines = [f"{job['displayName']}: {job['state'].removeprefix('JOB_STATE_').lower()}"]
    for key, what in (("createTime", "created"), ("startTime", "started"), ("endTime", "ended")):
        if key in job:
            lines.append(f"  {what:8} {job[key]}")
    if record is None:
        lines.append("  run      nothing written yet")
    else:
        lines.append(f"  run      {_reached(record)}")
        if record["num_starts"] > 1:
            lines.append(f"  restarts {record['num_starts'] - 1}; each went on at its checkpoint")
    if message := job.get("error", {}).get("message"):
        lines.append(f"  error    {message}")
        code = re.search(r"non-zero status of (\d+)", message)
        if code and int(code[1]) in _EXIT_CODES:
            lines.append(f"           {_EXIT_CODES[int(code[1])]}")
    return lines


def _reached(record: Mapping[str, Any]) -> str:
    history = record.get("history") or []
    if not history:
        return "started, no epoch has ended"
    last = history[-1]
    text = f"stage {last['stage']}, epoch {last['epoch']}"
    if last["val_accuracy"] is not None:
        text += f", validation accuracy {last['val_accuracy']:.4f}"
    return ("finished; " if record["finished"] else "") + text
