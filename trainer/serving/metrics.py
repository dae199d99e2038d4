"""What Prometheus can ask for."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one service; a registry of its own, so that several fit into one process.

    Args:
        max_batch: of the network.
        photos_inside: tells how many photos are accepted and not yet answered.
        seconds_per_photo: tells the pace by which photos are let in.
    """

    def __init__(
        self,
        max_batch: int,
        photos_inside: Callable[[], int],
        seconds_per_photo: Callable[[], float],
    ):
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "serve_requests",
            "Answered requests",
            ["path", "status"],
            registry=self.registry,
        )
        self._latency = Histogram(
            "serve_request_seconds",
            "From the head of a request to the end of its answer",
            ["path"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._photos = Counter(
            "serve_photos", "Photos by outcome: 200, or why not", ["status"], registry=self.registry
        )
        self._batch = Histogram(
            "serve_batch_photos",
            "Photos that went through the network together",
            buckets=range(1, max_batch + 1),
            registry=self.registry,
        )
        self._network = Histogram(
            "serve_network_seconds", "A batch", buckets=_SECONDS, registry=self.registry
        )
        inside = Gauge("serve_queue_photos", "Accepted, not yet answered", registry=self.registry)
        inside.set_function(photos_inside)
        pace = Gauge(
            "serve_seconds_per_photo", "Of the slowest stage, expected", registry=self.registry
        )
        pace.set_function(seconds_per_photo)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """A request is over."""
        self._requests.labels(path, str(status)).inc()
        self._latency.labels(path).observe(seconds)

    def count_photo(self, status: int) -> None:
        """A photo is answered."""
        self._photos.labels(str(status)).inc()

    def count_batch(self, num_photos: int, seconds: float) -> None:
        """A batch went through the network."""
        self._batch.observe(num_photos)
        self._network.observe(seconds)

    def text(self) -> bytes:
        """In the format that Prometheus reads."""
        return generate_latest(self.registry)
