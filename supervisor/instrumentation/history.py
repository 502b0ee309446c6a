"""The fleet's history of the last 15 minutes, and rates of the last ten seconds. Pure.

Memory is bounded: a consumer takes at most `SAMPLES` figures, 40 kB, and a worker `POINTS` points,
4 kB. They are in tuples that are replaced as a whole, so any thread may read them.
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
"""Number of samples that are kept."""
RATE_SPAN = 10.0
"""Seconds over which a worker's rate is measured."""
POINTS = 24
"""Most heartbeats that a rate is measured from; there is about one a second."""
LATE = 2.0
"""Seconds without a heartbeat after which a worker's rate goes down."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a consumer at one time.

    Attributes:
        processed: Records settled since the supervisor's start.
        lag: Records that wait to be handled; None if that was not known.
    """

    processed: int
    lag: int | None


@dataclass(frozen=True, slots=True)
class FleetSample:
    """The figures of all consumers at one time (monotonic seconds)."""

    at: float
    consumers: Mapping[str, Figures]


class History:
    """The samples of the last `SPAN` seconds."""

    def __init__(self) -> None:
        self._samples: tuple[FleetSample, ...] = ()

    def due(self, now: float) -> bool:
        """Return whether it is time for a sample."""
        return not self._samples or now - self._samples[-1].at >= INTERVAL

    def add(self, sample: FleetSample) -> None:
        """Add a sample, and drop outdated ones."""
        kept = (old for old in self._samples[1 - SAMPLES :] if sample.at - old.at <= SPAN)
        self._samples = (*kept, sample)

    def shown(self, now: float) -> dict[str, Any]:
        """Return what /history shows, oldest first.

        Keys: ``interval_seconds`` and ``span_seconds``; ``age_seconds``, how long ago each sample
        was taken; under ``consumers`` and a consumer's name ``records_per_second``, the mean since
        the previous sample, and ``lag``. Both lists are as long as ``age_seconds``, and have null
        for unknown values.
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


def _rate(before: FleetSample, after: FleetSample, name: str) -> float | None:
    """Return a consumer's records a second between two samples; None if it is not in both."""
    if name not in before.consumers or name not in after.consumers:
        return None
    done = after.consumers[name].processed - before.consumers[name].processed
    # The total goes down when a slot is removed.
    return round(max(0, done) / (after.at - before.at), 2)


def _lag(sample: FleetSample, name: str) -> int | None:
    return sample.consumers[name].lag if name in sample.consumers else None


class Rate:
    """Records a second of a worker, from the number settled at each of its latest heartbeats."""

    def __init__(self) -> None:
        self._points: tuple[tuple[float, int], ...] = ()

    def add(self, at: float, processed: int) -> None:
        """Add the total settled at a time (monotonic seconds); ignore a time that is not later."""
        if self._points and at <= self._points[-1][0]:
            return
        self._points = (*self._points[1 - POINTS :], (at, processed))

    def per_second(self, now: float) -> float:
        """Return the mean of the last `RATE_SPAN` seconds, or of the part of them that is known."""
        points = self._points
        if not points:
            return 0.0
        last_at, last = points[-1]
        until = last_at if now - last_at <= LATE else now
        since, first = points[0]
        for at, processed in points:
            if at <= until - RATE_SPAN:
                since, first = at, processed
        if until <= since:
            return 0.0
        return round(max(0, last - first) / (until - since), 2)
