"""The Prometheus observer of a loop, with all metric names of the library.

========================================  =========  ==============================================
``flowodm_messages_total``                counter    settled records by ``outcome``
``flowodm_failures_total``                counter    failed attempts by ``stage``
``flowodm_retries_total``                 counter    failed attempts that are retried
``flowodm_dead_letters_total``            counter    records copied to the dead-letter topic
``flowodm_abandoned_total``               counter    records in a handler at the drain deadline
``flowodm_event_loop_blocked_total``      counter    times that a handler blocked the event loop
``flowodm_commits_total``                 counter    OffsetCommit answers by ``result`` (ok, error)
``flowodm_rebalances_total``              counter    changes of the assignment by ``kind``
``flowodm_client_errors_total``           counter    errors of the Kafka client by ``code``
``flowodm_handler_seconds``               histogram  decoding and handling of one record
``flowodm_commit_seconds``                histogram  from an OffsetCommit request to its answer
``flowodm_drain_seconds``                 histogram  from the stop request to the end of the drain
``flowodm_joined``                        gauge      1 with an assignment, even an empty one; else 0
``flowodm_assigned_partitions``           gauge      assigned partitions
``flowodm_paused_partitions``             gauge      assigned partitions that are not fetched from
``flowodm_in_flight``                     gauge      handlers that are running
``flowodm_buffered_records``              gauge      fetched records that are not settled
``flowodm_waiting_retries``               gauge      records that wait for a retry
``flowodm_oldest_handler_seconds``        gauge      how long the slowest handler has been running
``flowodm_max_poll_interval_seconds``     gauge      how long a handler may run
``flowodm_consumer_lag``                  gauge      records behind the end, by topic and partition
``flowodm_last_progress_timestamp_seconds``  gauge   Unix time of the last settled record
========================================  =========  ==============================================

All of them have the labels ``consumer`` and ``slot``. docs/metrics.md explains them, and
docs/alerts.md says on which to alert.
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

BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0),
)
"""Upper bounds of the buckets of ``flowodm_handler_seconds``, in seconds."""
COMMIT_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Those of ``flowodm_commit_seconds``: a commit usually takes 6 ms, a time-out 10 s."""
DRAIN_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Those of ``flowodm_drain_seconds``: the default deadline is 30 s."""
MAX_CODES = 50
"""The number of error codes that are counted by name; librdkafka has about 200."""


class _Families(Collector):
    """The observers of one registry, collected as one: Prometheus wants each family once."""

    _of: ClassVar[WeakKeyDictionary[CollectorRegistry, _Families]] = WeakKeyDictionary()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self.observers: dict[tuple[str, str], PrometheusObserver] = {}

    @classmethod
    def add(cls, registry: CollectorRegistry, observer: PrometheusObserver) -> None:
        """Publish an observer's families; the first observer registers the collector.

        Raises:
            ValueError: Another observer has the same labels: a scrape would have duplicates.
        """
        with cls._lock:
            families = cls._of.get(registry)
            if families is None:
                families = cls._of[registry] = cls()
                registry.register(families)
            if observer.labels in families.observers:
                consumer, slot = observer.labels
                raise ValueError(
                    f"consumer={consumer!r}, slot={slot!r} is in this registry already: give each "
                    "loop its own slot, or close() the observer of the loop that has ended"
                )
            families.observers[observer.labels] = observer

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
                first = families.setdefault(family.name, family)
                if first is not family:
                    first.samples.extend(family.samples)
        yield from families.values()

    def describe(self) -> Iterable[Metric]:
        return []  # without it, register() would call collect()


class _Histogram:
    """A histogram that takes one bisection for a value.

    prometheus_client's takes several microseconds, more than the engine needs for a record.
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
    """Counts the events of one loop, also over several runs; pass it to ``observers=``.

    It takes a lock once a batch, and one bisection for each record.

    Args:
        registry: The registry that publishes the metrics; by default prometheus_client's global
            one.
        consumer: The value of the label ``consumer``.
        slot: The value of the label ``slot``, which distinguishes the loops of one consumer.

    Attributes:
        labels: The values of both labels.

    Raises:
        ValueError: The registry has an observer with the same labels.
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
        text = "Seconds for decoding and handling one record."
        self._handling = _Histogram("flowodm_handler_seconds", text, BUCKETS)
        text = "Seconds from an OffsetCommit request to its answer."
        self._committing = _Histogram("flowodm_commit_seconds", text, COMMIT_BUCKETS)
        text = "Seconds from the stop request to the end of the drain."
        self._draining = _Histogram("flowodm_drain_seconds", text, DRAIN_BUCKETS)
        self._last_progress = 0.0
        self._status = LoopStatus(LoopState.CREATED)
        _Families.add(REGISTRY if registry is None else registry, self)

    def close(self) -> None:
        """Remove the loop's samples from the registry, in a program that runs on after its loop."""
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
                    self._count_rare(event)

    def _count_rare(
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
                has_name = event.code in self._codes or len(self._codes) < MAX_CODES
                self._codes[event.code if has_name else "other"] += 1
            case Abandoned():
                self._abandoned += event.records
            case Ended():
                self._draining.observe([event.drain_seconds])
            case StateChanged():
                pass  # the next LoopStatus has the state
            case _:
                assert_never(event)

    def families(self) -> list[Metric]:
        """Return all families with this loop's samples."""
        with self._lock:
            return [*self._counters(), *self._histograms(), *self._gauges()]

    def _counters(self) -> Iterator[Metric]:
        yield self._counter(
            "messages", "Settled records by outcome.", "outcome", values=_values(self._outcomes)
        )
        yield self._counter(
            "failures", "Failed attempts by stage.", "stage", values=_values(self._stages)
        )
        text = "Failed attempts that are retried."
        yield self._counter("retries", text, None, values={"": self._retries})
        text = "Records copied to the dead-letter topic."
        yield self._counter("dead_letters", text, None, values={"": self._dead_letters})
        text = "Records in a handler at the drain deadline."
        yield self._counter("abandoned", text, None, values={"": self._abandoned})
        text = "Times that a handler blocked the event loop."
        yield self._counter("event_loop_blocked", text, None, values={"": self._blocked})
        yield self._counter(
            "commits", "OffsetCommit answers by result.", "result", values=self._commits
        )
        kinds = _values(self._rebalances)
        yield self._counter(
            "rebalances", "Changes of the assignment by kind.", "kind", values=kinds
        )
        text = "Errors that the Kafka client reports by code."
        yield self._counter("client_errors", text, "code", values=self._codes)

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
        text = "1 if the loop has an assignment, even an empty one; else 0."
        yield self._gauge("joined", text, float(status.joined))
        assigned = len(status.assigned)
        yield self._gauge("assigned_partitions", "Assigned partitions.", assigned)
        text = "Assigned partitions that are not fetched from."
        yield self._gauge("paused_partitions", text, status.paused)
        yield self._gauge("in_flight", "Handlers that are running.", status.in_flight)
        text = "Fetched records that are not settled."
        yield self._gauge("buffered_records", text, status.buffered)
        text = "Records that wait for a retry."
        yield self._gauge("waiting_retries", text, status.waiting)
        text = "Seconds for which the slowest handler has been running."
        yield self._gauge("oldest_handler_seconds", text, status.oldest_handler_seconds)
        text = "Seconds that a handler may run before the loop leaves its group."
        yield self._gauge("max_poll_interval_seconds", text, status.max_poll_interval_seconds)
        text = "Unix time of the last settled record; 0 before the first one."
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
