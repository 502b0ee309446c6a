"""The histogram of drain times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Histogram
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric


class Drains(Collector):
    """Measures how long workers took to drain."""

    def __init__(self) -> None:
        self._seconds = Histogram(
            "flowodm_worker_drain_seconds",
            "From the start of a worker's drain to its end.",
            ["consumer"],
            registry=None,
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
        )

    def add(self, consumer: str, seconds: float) -> None:
        """Count the drain of one worker."""
        self._seconds.labels(consumer).observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram without `_created` samples, as `Fold` does."""
        for metric in self._seconds.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric
