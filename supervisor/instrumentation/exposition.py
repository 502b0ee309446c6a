"""The fleet's /metrics: the workers' metrics, and the supervisor's own."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from supervisor.fleet.drains import Drains
from supervisor.instrumentation.status import LastReload, Measured
from supervisor.slot.machine import FINAL, SlotState
from supervisor.slot.restart import ExitClass
from supervisor.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from supervisor.fleet.fold import Fold
    from supervisor.fleet.member import Member


class Exposition(Collector):
    """The fleet's /metrics, on a registry of its own.

    Args:
        fold: The workers' metrics.
        members: Returns the slots as they are now.
        measured: Returns what was measured of a worker.
        config_hash: Returns the hash of the configuration as it is now.
        drains: How long drains took.
        last_reload: Returns how the latest reload ended.
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
        """Return the text and its content type: OpenMetrics if the Accept header has it."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Yield the workers' families, then the supervisor's own."""
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
        """Return nothing: families come and go with the workers."""
        return []


def _build_info() -> Metric:
    info = GaugeMetricFamily(
        "flowodm_build_info",
        "Always 1; the labels have the versions of the supervisor and of Python.",
        labels=["version", "python"],
    )
    info.add_metric([VERSION, platform.python_version()], 1)
    return info


def _config_info(value: str) -> Metric:
    info = GaugeMetricFamily(
        "flowodm_config_info",
        "Always 1; the label has a hash of the configuration without secrets and instance_id.",
        labels=["hash"],
    )
    info.add_metric([value], 1)
    return info


def _reload(last: LastReload) -> tuple[Metric, Metric]:
    """Make the metrics of reloads; Prometheus has the same names for its own."""
    successful = GaugeMetricFamily(
        "flowodm_config_last_reload_successful",
        "1 if the latest reload was accepted, else 0; 1 before the first reload.",
        value=float(last.successful),
    )
    succeeded_at = GaugeMetricFamily(
        "flowodm_config_last_reload_success_timestamp_seconds",
        "Time when a configuration was last accepted, at the start or by a reload.",
        value=last.succeeded_at,
    )
    return successful, succeeded_at


def _states(members: Sequence[Member]) -> Metric:
    family = GaugeMetricFamily(
        "flowodm_worker_state",
        "1 for the state of the worker's slot, 0 for the other states.",
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
        "1 if the slot has a live process, ready or not; else 0.",
        labels=["consumer", "slot"],
    )
    for member in members:
        up = member.pid is not None and member.slot.state not in FINAL
        family.add_metric([member.consumer, str(member.index)], float(up))
    return family


def _restarts(members: Sequence[Member]) -> Metric:
    family = CounterMetricFamily(
        "flowodm_worker_restarts",
        "Restarts of the slot's worker, by why the previous one ended.",
        labels=["consumer", "slot", "reason"],
    )
    for member in members:
        for reason in ExitClass:  # also reasons with 0: a rate needs the 0 before the 1
            labels = [member.consumer, str(member.index), reason.value]
            family.add_metric(labels, member.restarts[reason])
    return family


def _costs(
    members: Sequence[Member], measured: Callable[[Member], Measured]
) -> tuple[Metric, Metric]:
    labels = ["consumer", "slot"]
    cpu = CounterMetricFamily(
        "flowodm_worker_cpu_seconds",
        "User and system CPU time of the slot's processes.",
        labels=labels,
    )
    memory = GaugeMetricFamily(
        "flowodm_worker_resident_memory_bytes",
        "Resident memory of the slot's process; pages that workers share count for each.",
        labels=labels,
    )
    for member in members:
        cost, values = measured(member), [member.consumer, str(member.index)]
        if cost.cpu_seconds is not None:
            cpu.add_metric(values, cost.cpu_seconds)
        if cost.resident_bytes is not None:
            memory.add_metric(values, cost.resident_bytes)
    return cpu, memory
