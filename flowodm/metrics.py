"""The Prometheus observer of a loop; every metric name of the library stands here, once.

========================================  =========  ==============================================
``flowodm_messages_total``                counter    settled records by ``outcome``
``flowodm_failures_total``                counter    failed attempts by ``stage``
``flowodm_retries_total``                 counter    attempts that are made again
``flowodm_dead_letters_total``            counter    records copied to the dead-letter topic
``flowodm_abandoned_total``               counter    records left unfinished at a drain deadline
``flowodm_event_loop_blocked_total``      counter    times that a handler held up the event loop
``flowodm_commits_total``                 counter    OffsetCommit answers by ``result`` (ok, error)
``flowodm_rebalances_total``              counter    assignment changes by ``kind``
``flowodm_client_errors_total``           counter    errors that Kafka's client reports, by ``code``
``flowodm_handler_seconds``               histogram  decoding and handling of one record
``flowodm_commit_seconds``                histogram  from an OffsetCommit to its answer
``flowodm_drain_seconds``                 histogram  from the request to stop to the drain's end
``flowodm_joined``                        gauge      1 with an assignment, even an empty one; or 0
``flowodm_assigned_partitions``           gauge      partitions of this loop
``flowodm_paused_partitions``             gauge      those that are paused, as they fill the buffer
``flowodm_in_flight``                     gauge      handlers that run now
``flowodm_buffered_records``              gauge      fetched records that are not settled
``flowodm_waiting_retries``               gauge      records whose next attempt is waited for
``flowodm_oldest_handler_seconds``        gauge      for how long the slowest handler runs by now
``flowodm_max_poll_interval_seconds``     gauge      how long it may run in this loop
``flowodm_consumer_lag``                  gauge      records behind the end, by topic and partition
``flowodm_last_progress_timestamp_seconds``  gauge   when a record was settled last (Unix time)
========================================  =========  ==============================================

All of them have the labels ``consumer`` and ``slot``. What they mean, and what to alert on, is in
docs/metrics.md.
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
    Ended,
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

#: Upper bounds of the buckets of ``flowodm_handler_seconds``, in seconds.
BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0),
)
#: Those of ``flowodm_commit_seconds``: a broker's default takes 6 ms, a time-out 10 s.
COMMIT_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Those of ``flowodm_drain_seconds``: the default deadline is 30 s.
DRAIN_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
#: Distinct error codes that are counted by name; librdkafka has about 200, a broker fewer.
MAX_CODES = 50


class _Families(Collector):
    """All observers of one registry: together they give each family once, as Prometheus wants."""

    _of: ClassVar[WeakKeyDictionary[CollectorRegistry, _Families]] = WeakKeyDictionary()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self.observers: dict[tuple[str, str], PrometheusObserver] = {}

    @classmethod
    def add(cls, registry: CollectorRegistry, observer: PrometheusObserver) -> None:
        """Publish an observer's families; the first one registers the registry's collector.

        Raises:
            ValueError: There is one with these labels: a scrape would have each sample twice.
        """
        with cls._lock:
            found = cls._of.get(registry)
            if found is None:
                found = cls._of[registry] = cls()
                registry.register(found)
            if observer.labels in found.observers:
                consumer, slot = observer.labels
                raise ValueError(
                    f"consumer={consumer!r}, slot={slot!r} is in this registry already: give each "
                    "loop a slot of its own, or close() the observer of the one that has ended"
                )
            found.observers[observer.labels] = observer

    @classmethod
    def remove(cls, observer: PrometheusObserver) -> None:
        with cls._lock:
            for families in cls._of.values():
                if families.observers.get(observer.labels) is observer:
                    del families.observers[observer.labels]

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for observer in list(self.observers.values()):
            for family in observer.families():
                known = families.setdefault(family.name, family)
                if known is not family:
                    known.samples.extend(family.samples)
        yield from families.values()

    def describe(self) -> Iterable[Metric]:
        return []  # or the registry would collect before there is an observer


class _Histogram:
    """Booking a value costs one bisection.

    prometheus_client's own takes several microseconds, more than the engine's share of a record.
    """

    def __init__(self, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self._name, self._text, self._bounds = name, text, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, values: list[float]) -> None:
        bounds, counts = self._bounds, self._counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self._sum += sum(values)

    def family(self, labels: tuple[str, str]) -> HistogramMetricFamily:
        family = HistogramMetricFamily(self._name, self._text, labels=["consumer", "slot"])
        total, buckets = 0, []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric(labels, buckets, self._sum)
        return family


class PrometheusObserver:
    """Counts a loop's events; give it to one loop as an observer, again if the loop runs again.

    A batch costs it one lock, and a record one bisection.

    Args:
        registry: Where the metrics are published; prometheus_client's global one by default.
        consumer: Value of the label ``consumer``.
        slot: Value of the label ``slot``, which tells apart the loops of one consumer.

    Attributes:
        labels: The two values.

    Raises:
        ValueError: The registry has an observer with these two labels already.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, consumer: str, slot: str = "0"
    ) -> None:
        self.labels = (consumer, slot)
        self._lock = threading.Lock()
        self._outcomes = Counter(dict.fromkeys(Outcome, 0))
        self._stages = Counter(dict.fromkeys(Stage, 0))
        self._rebalances = Counter(dict.fromkeys(RebalanceKind, 0))
        self._commits = Counter({"ok": 0, "error": 0})
        self._codes: Counter[str] = Counter()
        self._retries = 0
        self._dead_letters = 0
        self._abandoned = 0
        self._blocked = 0
        text = "Seconds for the decoding and handling of one record."
        self._handling = _Histogram("flowodm_handler_seconds", text, BUCKETS)
        text = "Seconds from an OffsetCommit to its answer."
        self._committing = _Histogram("flowodm_commit_seconds", text, COMMIT_BUCKETS)
        text = "Seconds from the request to stop to the end of the drain."
        self._draining = _Histogram("flowodm_drain_seconds", text, DRAIN_BUCKETS)
        self._last_progress = 0.0
        self._status = LoopStatus(LoopState.CREATED)
        _Families.add(REGISTRY if registry is None else registry, self)

    def close(self) -> None:
        """Take the loop's samples off the registry, for programs that outlive their loops."""
        _Families.remove(self)

    def __call__(self, event: Event) -> None:
        """Count one event."""
        with self._lock:
            match event:
                case Handled():
                    self._outcomes.update(event.outcomes)
                    self._handling.observe(event.seconds)
                    if event.seconds:
                        self._last_progress = time.time()
                case Failed():
                    self._stages[event.stage] += 1
                    self._retries += event.consequence == "retry"
                case Committed():
                    self._commits["ok" if event.error is None else "error"] += 1
                    self._committing.observe([] if event.seconds is None else [event.seconds])
                case LoopStatus():
                    self._status = event
                case _:
                    self._rarer(event)

    def _rarer(
        self,
        event: DeadLettered | Blocked | Rebalanced | Trouble | Abandoned | Ended | StateChanged,
    ) -> None:
        match event:
            case DeadLettered():
                self._dead_letters += 1
            case Blocked():
                self._blocked += not event.again
            case Rebalanced():
                self._rebalances[event.kind] += 1
            case Trouble():
                known = event.code in self._codes or len(self._codes) < MAX_CODES
                self._codes[event.code if known else "other"] += 1
            case Abandoned():
                self._abandoned += event.records
            case Ended():
                self._draining.observe([event.drain_seconds])
            case StateChanged():
                pass  # the next status tells it
            case _:
                assert_never(event)

    def families(self) -> list[Metric]:
        """All families with this loop's samples."""
        with self._lock:
            return [*self._counters(), *self._histograms(), *self._gauges()]

    def _counters(self) -> Iterator[Metric]:
        yield self._counter("messages", "Settled records.", "outcome", _values(self._outcomes))
        yield self._counter("failures", "Failed attempts.", "stage", _values(self._stages))
        yield self._counter("retries", "Attempts that are made again.", None, {"": self._retries})
        text = "Records copied to the dead-letter topic."
        yield self._counter("dead_letters", text, None, {"": self._dead_letters})
        text = "Records left unfinished at a drain deadline."
        yield self._counter("abandoned", text, None, {"": self._abandoned})
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
            family.add_metric([*self.labels, *([value] if label else [])], count)
        return family

    def _histograms(self) -> Iterator[Metric]:
        for histogram in (self._handling, self._committing, self._draining):
            yield histogram.family(self.labels)

    def _gauges(self) -> Iterator[Metric]:
        status = self._status
        text = "1 if the loop has an assignment, even an empty one; 0 if not."
        yield self._gauge("joined", text, float(status.joined))
        assigned = len(status.assigned)
        yield self._gauge("assigned_partitions", "Partitions of this loop.", assigned)
        text = "Partitions that are not fetched from, because they fill the buffer."
        yield self._gauge("paused_partitions", text, status.paused)
        yield self._gauge("in_flight", "Handlers that run now.", status.in_flight)
        yield self._gauge("buffered_records", "Fetched, not settled records.", status.buffered)
        text = "Records whose next attempt is waited for."
        yield self._gauge("waiting_retries", text, status.waiting)
        text = "Seconds the slowest handler has been running by now."
        yield self._gauge("oldest_handler_seconds", text, status.oldest_handler_seconds)
        text = "Seconds that a handler may run before the loop leaves its group."
        yield self._gauge("max_poll_interval_seconds", text, status.max_poll_interval_seconds)
        text = "Unix time at which a record was settled last; 0 before the first one."
        yield self._gauge("last_progress_timestamp_seconds", text, self._last_progress)
        lag = GaugeMetricFamily(
            "flowodm_consumer_lag",
            "Records between the settled position and the end of the partition.",
            labels=["consumer", "slot", "topic", "partition"],
        )
        for (topic, partition), records in status.lags:
            lag.add_metric([*self.labels, topic, str(partition)], records)
        yield lag

    def _gauge(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"flowodm_{name}", text, labels=["consumer", "slot"])
        family.add_metric(self.labels, value)
        return family


def _values(counts: Counter[Outcome] | Counter[Stage] | Counter[RebalanceKind]) -> dict[str, int]:
    return {member.value: count for member, count in counts.items()}
