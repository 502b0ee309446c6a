"""One exposition for the whole fleet, folded from the workers' snapshots.

A worker sends all its families once a second. Counters and histograms of workers that ended
are added up and kept, so that they never go down; a dead worker's gauges disappear.
"""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from supervisor.instrumentation.status import Measured
from supervisor.protocol import ProtocolError, unpack
from supervisor.slot.machine import FINAL, SlotState
from supervisor.slot.restart import ExitClass
from supervisor.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from supervisor.fleet.member import Member
    from supervisor.protocol import Family

log = logging.getLogger("supervisor")

_ADDITIVE = frozenset({"counter", "histogram", "summary", "gaugehistogram"})
_SampleKey = tuple[str, tuple[tuple[str, str], ...]]


class _Folded:
    """One family under construction; samples keep the order in which they first appear."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text
        self.samples: dict[_SampleKey, float] = {}

    def add(self, family: Family) -> None:
        for name, labels, value in family[3]:
            if name.endswith("_created"):
                continue  # a moment, not an amount; and the next worker's is another
            key = (name, tuple(labels.items()))
            before = self.samples.get(key, 0.0) if self.kind in _ADDITIVE else 0.0
            self.samples[key] = before + value

    def metric(self, name: str) -> Metric:
        metric = Metric(name, self.text, self.kind)
        for (sample, labels), value in self.samples.items():
            metric.add_sample(sample, dict(labels), value)
        return metric


class Fold:
    """Adds up what workers report, over all the processes that a slot has had."""

    def __init__(self) -> None:
        self._ended: dict[str, _Folded] = {}
        self._live: dict[object, str] = {}

    def update(self, worker: object, metrics: str) -> None:
        """Take a living worker's snapshot, a heartbeat's, in place of its last one."""
        self._live[worker] = metrics

    def ended(self, worker: object) -> None:
        """Keep what the worker counted; forget what it measured."""
        if (metrics := self._live.pop(worker, None)) is not None:
            _add(self._ended, (f for f in _families(metrics) if f[1] in _ADDITIVE))

    def collect(self) -> Iterator[Metric]:
        """The families, folded as of now."""
        total: dict[str, _Folded] = {}
        for name, ended in self._ended.items():
            total[name] = _Folded(ended.kind, ended.text)
            total[name].samples = dict(ended.samples)
        for metrics in self._live.values():
            _add(total, _families(metrics))
        return (folded.metric(name) for name, folded in total.items())


def _families(metrics: str) -> list[Family]:
    try:
        return unpack(metrics)
    except ProtocolError as error:
        log.error("a worker's metrics are left out: %s", error)  # noqa: TRY400 - it says it all
        return []


def _add(total: dict[str, _Folded], families: Iterable[Family]) -> None:
    for family in families:
        name, kind, text, _ = family
        total.setdefault(name, _Folded(kind, text)).add(family)


@dataclass(frozen=True, slots=True)
class LastReload:
    """How the latest reload ended.

    Attributes:
        successful: Whether it was accepted.
        succeeded_at: When the latest that was accepted was (seconds since the epoch).
        at: When the latest ended.
        error: Why it was refused; "" if it was not.
    """

    successful: bool = True
    succeeded_at: float = 0.0
    at: float = 0.0
    error: str = ""


class Drains(Collector):
    """How long workers took to end once they were to."""

    def __init__(self) -> None:
        self._seconds = Histogram(
            "flowodm_worker_drain_seconds",
            "From the moment that a worker was to end until its end.",
            ["consumer"],
            registry=None,
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
        )

    def add(self, consumer: str, seconds: float) -> None:
        """Take the drain of one worker."""
        self._seconds.labels(consumer).observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """The histogram, without its moments of creation, as in `Fold`."""
        for metric in self._seconds.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric


class Exposition(Collector):
    """The fleet's /metrics, on a registry of its own.

    Args:
        fold: The workers' part.
        members: Gives the slots of this moment.
        measured: What a worker does and costs.
        config_hash: The fingerprint of the configuration of this moment.
        drains: How long workers took to end.
        last_reload: How the latest reload ended.
    """

    def __init__(
        self,
        fold: Fold,
        members: Callable[[], Sequence[Member]],
        measured: Callable[[Member], Measured] = lambda _: Measured(),
        config_hash: Callable[[], str] = str,
        drains: Drains | None = None,
        last_reload: Callable[[], LastReload] = LastReload,
    ) -> None:
        self._fold = fold
        self._members = members
        self._measured = measured
        self._config_hash = config_hash
        self._drains = drains or Drains()
        self._last_reload = last_reload
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type: OpenMetrics for those who accept it."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """The workers' families, then the supervisor's own."""
        yield from self._fold.collect()
        yield _build_info()
        yield _config_info(self._config_hash())
        yield from _reload(self._last_reload())
        members = self._members()
        yield _states(members)
        yield _up(members)
        yield _restarts(members)
        yield from _costs(members, self._measured)
        yield from self._drains.collect()

    def describe(self) -> list[Metric]:
        """Nothing: families come and go with the workers."""
        return []


def _build_info() -> Metric:
    info = GaugeMetricFamily(
        "flowodm_build_info", "Always 1; the labels say what runs.", labels=["version", "python"]
    )
    info.add_metric([VERSION, platform.python_version()], 1)
    return info


def _config_info(fingerprint: str) -> Metric:
    info = GaugeMetricFamily(
        "flowodm_config_info",
        "Always 1; the hash names the configuration's content, secrets and instance_id left out.",
        labels=["hash"],
    )
    info.add_metric([fingerprint], 1)
    return info


def _reload(last: LastReload) -> tuple[Metric, Metric]:
    """Named as Prometheus names the same of itself."""
    successful = GaugeMetricFamily(
        "flowodm_config_last_reload_successful",
        "Whether the latest reload was accepted; 1 before the first.",
        value=float(last.successful),
    )
    succeeded_at = GaugeMetricFamily(
        "flowodm_config_last_reload_success_timestamp_seconds",
        "When a configuration was last accepted, at the start or by a reload.",
        value=last.succeeded_at,
    )
    return successful, succeeded_at


def _states(members: Sequence[Member]) -> Metric:
    family = GaugeMetricFamily(
        "flowodm_worker_state",
        "1 for the state that a worker's slot is in, 0 for the others.",
        labels=["consumer", "slot", "state"],
    )
    for member in members:
        for state in SlotState:
            labels = [member.consumer, str(member.index), state.value]
            family.add_metric(labels, float(member.slot.state is state))
    return family


def _up(members: Sequence[Member]) -> Metric:
    family = GaugeMetricFamily(
        "flowodm_worker_up",
        "1 if a slot has a live process, ready or not.",
        labels=["consumer", "slot"],
    )
    for member in members:
        up = member.pid is not None and member.slot.state not in FINAL
        family.add_metric([member.consumer, str(member.index)], float(up))
    return family


def _restarts(members: Sequence[Member]) -> Metric:
    family = CounterMetricFamily(
        "flowodm_worker_restarts",
        "Restarts of a slot's worker by the reason of its predecessor's end.",
        labels=["consumer", "slot", "reason"],
    )
    for member in members:
        for reason in ExitClass:  # also those with none: a rate needs the zero before the one
            labels = [member.consumer, str(member.index), reason.value]
            family.add_metric(labels, member.restarts[reason])
    return family


def _costs(
    members: Sequence[Member], measured: Callable[[Member], Measured]
) -> tuple[Metric, Metric]:
    labels = ["consumer", "slot"]
    cpu = CounterMetricFamily(
        "flowodm_worker_cpu_seconds",
        "CPU time of a slot's processes, user and system.",
        labels=labels,
    )
    memory = GaugeMetricFamily(
        "flowodm_worker_resident_memory_bytes",
        "Memory of a slot's process; what forked workers share counts in each of them.",
        labels=labels,
    )
    for member in members:
        cost, of = measured(member), [member.consumer, str(member.index)]
        if cost.cpu_seconds is not None:
            cpu.add_metric(of, cost.cpu_seconds)
        if cost.resident_bytes is not None:
            memory.add_metric(of, cost.resident_bytes)
    return cpu, memory
