"""The metrics that there are, for tests of what names them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from flowodm.metrics import PrometheusObserver
from supervisor.fleet.fold import Fold
from supervisor.instrumentation.exposition import Exposition


def exposed() -> set[str]:
    """Every name that a scrape of a fleet may have."""
    registry = CollectorRegistry()
    PrometheusObserver(registry, consumer="orders")
    names = set()
    for family in [*registry.collect(), *Exposition(Fold(), list).collect()]:
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + ending for ending in endings.get(family.type, [""])}
    return names
