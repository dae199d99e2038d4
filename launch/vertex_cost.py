"""What a job on Vertex AI has cost so far, at list prices.

python -m launch.vertex cost --job=projects/P/locations/R/customJobs/N
"""

import datetime
from collections.abc import Mapping
from typing import Any

from absl import flags

from launch.planning.prices import PRICES_FROM, PRICES_SOURCE
from launch.vertex_machines import machine_like

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this verb."""
    flags.DEFINE_string("job", None, "Name of the job, as submit prints it.", required=True)
    flags.DEFINE_float("usd_per_hour", None, "Of one machine; the list price by default.", 0.0)


def main() -> None:
    """Prints hours, machines and dollars."""
    from launch.vertex_client import VertexClient

    now = datetime.datetime.now(datetime.UTC)
    for line in describe_cost(VertexClient().get(FLAGS.job), now, FLAGS.usd_per_hour):
        print(line)


def describe_cost(
    job: Mapping[str, Any], now: datetime.datetime, usd_per_hour: float | None = None
) -> list[str]:
    """Lines for people: from the first start to the end, or to now.

    Args:
        job: as the service answers.
        now: the time, aware of its zone.
        usd_per_hour: of one machine; None for the list price.
    """
    if "startTime" not in job:
        return ["nothing yet: no machine has started"]
    end = _time(job["endTime"]) if "endTime" in job else now
    hours = (end - _time(job["startTime"])).total_seconds() / 3600
    pools = job["jobSpec"]["workerPoolSpecs"]
    count = sum(int(pool["replicaCount"]) for pool in pools)
    spec = pools[0]["machineSpec"]
    machine = machine_like(spec)
    price = usd_per_hour or (machine.usd_per_hour if machine else None)
    lines = [f"{hours:.2f} h of {count} x {spec['machineType']}"]
    if price is None:
        return [*lines, "no price is known for it; give it with --usd_per_hour"]
    lines.append(f"about ${hours * count * price:.2f} at ${price:.2f} an hour and machine")
    if usd_per_hour is None:
        lines.append(f"({PRICES_FROM}; {PRICES_SOURCE}; the fee of Vertex AI comes on top)")
    strategy = job["jobSpec"].get("scheduling", {}).get("strategy")
    if strategy == "SPOT":
        lines.append("a spot job costs less, and nothing while it waits for a machine")
    return lines


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
