"""What the fleet did in the last quarter of an hour, and in the last ten seconds. Pure.

Memory is bounded: a consumer costs at most `SAMPLES` figures, 40 kB, and a worker `POINTS` points,
4 kB. What is held are tuples that are replaced, so any thread may read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERVAL = 5.0
"""Seconds between two samples."""
SPAN = 900.0
"""Seconds that the samples reach back."""
SAMPLES = int(SPAN / INTERVAL) + 1
"""Samples that are kept."""
RATE_SPAN = 10.0
"""Seconds over which a worker's rate is taken."""
POINTS = 24
"""Heartbeats that a rate is taken from, at most; there is about one a second."""
LATE = 2.0
"""Seconds without a heartbeat after which a worker counts as having done nothing since."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Where a consumer stood.

    Attributes:
        processed: Records settled since the supervisor's start.
        lag: Records that wait for it; None if that was not known.
    """

    processed: int
    lag: int | None


@dataclass(frozen=True, slots=True)
class Sample:
    """Where all consumers stood at a time (monotonic seconds)."""

    at: float
    consumers: Mapping[str, Figures]


class History:
    """The samples of the last `SPAN` seconds."""

    def __init__(self) -> None:
        self._samples: tuple[Sample, ...] = ()

    def due(self, now: float) -> bool:
        """Whether it is time for a sample."""
        return not self._samples or now - self._samples[-1].at >= INTERVAL

    def add(self, sample: Sample) -> None:
        """Take a sample, and drop what is out of date."""
        kept = (old for old in self._samples[1 - SAMPLES :] if sample.at - old.at <= SPAN)
        self._samples = (*kept, sample)

    def shown(self, now: float) -> dict[str, Any]:
        """What /history shows, oldest first.

        Keys: ``interval_seconds`` and ``span_seconds``; ``age_seconds``, how long ago each sample
        was taken; under ``consumers`` and a consumer's name ``records_per_second``, the mean since
        the sample before, and ``lag``, both as long as ``age_seconds`` and null where unknown.
        """
        samples = self._samples
        names = samples[-1].consumers if samples else ()
        return {
            "interval_seconds": INTERVAL,
            "span_seconds": SPAN,
            "age_seconds": [round(now - sample.at, 1) for sample in samples[1:]],
            "consumers": {
                name: {
                    "records_per_second": [_rate(*pair, name) for pair in pairwise(samples)],
                    "lag": [_lag(sample, name) for sample in samples[1:]],
                }
                for name in names
            },
        }


def _rate(before: Sample, after: Sample, name: str) -> float | None:
    if name not in before.consumers or name not in after.consumers:
        return None
    done = after.consumers[name].processed - before.consumers[name].processed
    # A slot that is gone for good takes its share of the total with it.
    return round(max(0, done) / (after.at - before.at), 2)


def _lag(sample: Sample, name: str) -> int | None:
    return sample.consumers[name].lag if name in sample.consumers else None


class Rate:
    """Records a second, from how many were settled at each heartbeat of the last seconds."""

    def __init__(self) -> None:
        self._points: tuple[tuple[float, int], ...] = ()

    def add(self, at: float, processed: int) -> None:
        """Take what was settled in all until then; the same moment twice counts once."""
        if self._points and at <= self._points[-1][0]:
            return
        self._points = (*self._points[1 - POINTS :], (at, processed))

    def per_second(self, now: float) -> float:
        """The mean of the last `RATE_SPAN` seconds, or of as much of them as is known."""
        points = self._points
        if not points:
            return 0.0
        last_at, last = points[-1]
        until = last_at if now - last_at <= LATE else now
        since, first = next(
            (point for point in reversed(points) if point[0] <= until - RATE_SPAN), points[0]
        )
        return round(max(0, last - first) / (until - since), 2) if until > since else 0.0
