"""The Prometheus observer of a loop; every metric name of the library stands here, once.

========================================  =========  ==============================================
``flowodm_messages_total``                counter    settled records by ``outcome``
``flowodm_failures_total``                counter    failed attempts by ``stage``
``flowodm_retries_total``                 counter    attempts that are made again
``flowodm_dead_letters_total``            counter    records copied to the dead-letter topic
``flowodm_event_loop_blocked_total``      counter    times that a handler held up the event loop
``flowodm_commits_total``                 counter    OffsetCommit answers by ``result`` (ok, error)
``flowodm_rebalances_total``              counter    assignment changes by ``kind``
``flowodm_client_errors_total``           counter    errors that Kafka's client reports, by ``code``
``flowodm_handler_seconds``               histogram  decoding and handling of one record
``flowodm_in_flight``                     gauge      handlers that run now
``flowodm_buffered_records``              gauge      fetched records that are not settled
``flowodm_oldest_handler_seconds``        gauge      for how long the slowest handler runs by now
``flowodm_assigned_partitions``           gauge      partitions of this loop
``flowodm_consumer_lag``                  gauge      records behind the end, by topic and partition
``flowodm_last_progress_timestamp_seconds``  gauge   when a record was settled last (Unix time)
========================================  =========  ==============================================

All of them have the labels ``consumer`` and ``slot``.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, ClassVar, assert_never
from weakref import WeakKeyDictionary

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry

from flowodm.events import (
    Abandoned,
    Blocked,
    Committed,
    DeadLettered,
    Failed,
    Handled,
    LoopState,
    LoopStatus,
    Outcome,
    Rebalanced,
    RebalanceKind,
    Stage,
    StateChanged,
    Trouble,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowodm.events import Event

#: Upper bounds of the histogram's buckets, in seconds.
BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0),
)
#: Distinct error codes that are counted by name; librdkafka has about 200, a broker fewer.
MAX_CODES = 50


class _Families(Collector):
    """All observers of one registry: together they give each family once, as Prometheus wants."""

    _of: ClassVar[WeakKeyDictionary[CollectorRegistry, _Families]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self.observers: list[PrometheusObserver] = []

    @classmethod
    def of(cls, registry: CollectorRegistry) -> _Families:
        """The registry's one, made and registered when it is first asked for."""
        found = cls._of.get(registry)
        if found is None:
            found = cls._of[registry] = cls()
            registry.register(found)
        return found

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for observer in list(self.observers):
            for family in observer.families():
                known = families.setdefault(family.name, family)
                if known is not family:
                    known.samples.extend(family.samples)
        yield from families.values()

    def describe(self) -> Iterable[Metric]:
        return []  # or the registry would collect before there is an observer


class PrometheusObserver:
    """Counts a loop's events; give it to the loop as an observer.

    Booking a batch costs one lock and one bisection a record: prometheus_client's own Histogram
    takes several microseconds a record, which is more than the engine's whole share.

    Args:
        registry: Where the metrics are published; prometheus_client's global one by default.
        consumer: Value of the label ``consumer``.
        slot: Value of the label ``slot``, which tells apart the loops of one consumer.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, consumer: str, slot: str = "0"
    ) -> None:
        self._labels = (consumer, slot)
        self._lock = threading.Lock()
        self._outcomes = Counter(dict.fromkeys(Outcome, 0))
        self._stages = Counter(dict.fromkeys(Stage, 0))
        self._rebalances = Counter(dict.fromkeys(RebalanceKind, 0))
        self._commits = Counter({"ok": 0, "error": 0})
        self._codes: Counter[str] = Counter()
        self._retries = 0
        self._dead_letters = 0
        self._blocked = 0
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0
        self._last_progress = 0.0
        self._status = LoopStatus(LoopState.CREATED)
        _Families.of(REGISTRY if registry is None else registry).observers.append(self)

    def __call__(self, event: Event) -> None:
        """Count one event."""
        with self._lock:
            match event:
                case Handled():
                    self._handled(event)
                case Failed():
                    self._stages[event.stage] += 1
                    self._retries += event.consequence == "retry"
                case DeadLettered():
                    self._dead_letters += 1
                case Blocked():
                    self._blocked += 1
                case Committed():
                    self._commits["ok" if event.error is None else "error"] += 1
                case Rebalanced():
                    self._rebalances[event.kind] += 1
                case Trouble():
                    known = event.code in self._codes or len(self._codes) < MAX_CODES
                    self._codes[event.code if known else "other"] += 1
                case LoopStatus():
                    self._status = event
                case StateChanged() | Abandoned():
                    pass
                case _:
                    assert_never(event)

    def _handled(self, event: Handled) -> None:
        self._outcomes.update(event.outcomes)
        buckets = self._buckets
        for seconds in event.seconds:
            buckets[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += sum(event.seconds)
        if event.seconds:
            self._last_progress = time.time()

    def families(self) -> list[Metric]:
        """All families with this loop's samples."""
        with self._lock:
            return [*self._counters(), self._histogram(), *self._gauges()]

    def _counters(self) -> Iterator[Metric]:
        yield self._counter("messages", "Settled records.", "outcome", _values(self._outcomes))
        yield self._counter("failures", "Failed attempts.", "stage", _values(self._stages))
        yield self._counter("retries", "Attempts that are made again.", None, {"": self._retries})
        text = "Records copied to the dead-letter topic."
        yield self._counter("dead_letters", text, None, {"": self._dead_letters})
        text = "Times that a handler held up the event loop."
        yield self._counter("event_loop_blocked", text, None, {"": self._blocked})
        yield self._counter("commits", "OffsetCommit answers.", "result", self._commits)
        kinds = _values(self._rebalances)
        yield self._counter("rebalances", "Changes of the assignment.", "kind", kinds)
        yield self._counter("client_errors", "Errors of Kafka's client.", "code", self._codes)

    def _counter(
        self, name: str, text: str, label: str | None, values: dict[str, int]
    ) -> CounterMetricFamily:
        labels = ["consumer", "slot"] + ([label] if label else [])
        family = CounterMetricFamily(f"flowodm_{name}", text, labels=labels)
        for value, count in values.items():
            family.add_metric([*self._labels, *([value] if label else [])], count)
        return family

    def _histogram(self) -> HistogramMetricFamily:
        family = HistogramMetricFamily(
            "flowodm_handler_seconds",
            "Seconds for the decoding and handling of one record.",
            labels=["consumer", "slot"],
        )
        total, buckets = 0, []
        for bound, count in zip([*map(str, BUCKETS), "+Inf"], self._buckets, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric(self._labels, buckets, self._seconds)
        return family

    def _gauges(self) -> Iterator[Metric]:
        status = self._status
        yield self._gauge("in_flight", "Handlers that run now.", status.in_flight)
        yield self._gauge("buffered_records", "Fetched, not settled records.", status.buffered)
        text = "Seconds the slowest handler has been running by now."
        yield self._gauge("oldest_handler_seconds", text, status.oldest_handler_seconds)
        assigned = len(status.assigned)
        yield self._gauge("assigned_partitions", "Partitions of this loop.", assigned)
        text = "Unix time at which a record was settled last; 0 before the first one."
        yield self._gauge("last_progress_timestamp_seconds", text, self._last_progress)
        lag = GaugeMetricFamily(
            "flowodm_consumer_lag",
            "Records between the settled position and the end of the partition.",
            labels=["consumer", "slot", "topic", "partition"],
        )
        for (topic, partition), records in status.lags:
            lag.add_metric([*self._labels, topic, str(partition)], records)
        yield lag

    def _gauge(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"flowodm_{name}", text, labels=["consumer", "slot"])
        family.add_metric(self._labels, value)
        return family


def _values(counts: Counter[Outcome] | Counter[Stage] | Counter[RebalanceKind]) -> dict[str, int]:
    return {member.value: count for member, count in counts.items()}
