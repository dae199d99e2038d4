"""What whoever starts the service can choose."""

import math
import os
from dataclasses import dataclass, fields
from pathlib import Path

from tfrecords_builder.errors import UserError

MAX_CONNECTIONS = 512
"""Open at once; each may hold 64 KiB that nobody has read yet. More are closed unanswered."""
_QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
"""Files of Linux' control groups, version 2 and 1: microseconds of how many."""


class SettingsError(UserError):
    """A setting that cannot be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceSettings:
    """Limits and shares of a service; every field must be positive, the waits may be 0."""

    threads: int = 0
    """Of the network; 0 is one a core that this process may use."""
    decoders: int = 0
    """Processes that decode photos; 0 is one a core."""
    decoder_mb: int = 256
    """Memory that decoding one photo may take, in MB."""
    max_batch: int = 1
    """Photos that go through the network together; on CPUs more cost memory and gain nothing."""
    max_wait_ms: float = 2.0
    """How long an idle network waits for more photos than one."""
    queue: int = 32
    """Photos that are accepted and not yet answered; who comes later gets 429."""
    max_body_mb: float = 10.0
    max_pixels: int = 50_000_000
    """That a photo may declare."""
    timeout_s: float = 30.0
    """From the head of a request to its answer."""
    drain_s: float = 0.0
    """How long to go on serving, not ready, after the signal to stop."""

    def __post_init__(self) -> None:
        may_be_zero = ("threads", "decoders", "max_wait_ms", "drain_s")
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < math.inf or (value == 0 and field.name not in may_be_zero):
                raise SettingsError(
                    f"--{field.name}={value}; need a positive number; leave it out for the default"
                )
        if self.max_batch > self.queue:
            raise SettingsError(
                f"--max_batch={self.max_batch} is more than --queue={self.queue}; need a queue "
                "that fills a batch; raise --queue"
            )

    @property
    def max_body_bytes(self) -> int:
        """Of one request."""
        return int(self.max_body_mb * 1e6)

    @property
    def max_held_bytes(self) -> int:
        """Of all requests that are being read or wait to be decoded."""
        return 4 * self.max_body_bytes


def num_cores(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use.

    A container sees all cores of its machine, however few of them its quota pays for.

    Args:
        groups: where the container's own limits are read.
    """
    cores = len(os.sched_getaffinity(0))
    for names in _QUOTAS:
        try:
            quota, period = " ".join((groups / name).read_text() for name in names).split()
            allowed = math.ceil(int(quota) / int(period))
        except (OSError, ValueError):  # There is no such file, or it says "max".
            continue
        if allowed > 0:
            cores = min(cores, allowed)
    return cores
