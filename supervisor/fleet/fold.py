"""Adds up the metrics of all workers, over all the processes that each slot has had.

A worker sends all its metric families once a second. Counters and histograms of ended workers
are kept, so that they never go down; a dead worker's gauges disappear.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric

from supervisor.protocol import Family, ProtocolError, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_log = logging.getLogger("supervisor")

_ADDITIVE = frozenset({"counter", "histogram", "summary", "gaugehistogram"})
"""Types of metrics whose samples are kept when a worker ends."""

_SampleKey = tuple[str, tuple[tuple[str, str], ...]]


class _Folded:
    """A metric family that is being added up; samples keep the order of their first appearance."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text
        self.samples: dict[_SampleKey, float] = {}

    def add(self, family: Family) -> None:
        for name, labels, value in family[3]:
            if name.endswith("_created"):
                continue  # a timestamp cannot be added up
            key = (name, tuple(labels.items()))
            before = self.samples.get(key, 0.0) if self.kind in _ADDITIVE else 0.0
            self.samples[key] = before + value

    def metric(self, name: str) -> Metric:
        metric = Metric(name, self.text, self.kind)
        for (sample, labels), value in self.samples.items():
            metric.add_sample(sample, dict(labels), value)
        return metric


class Fold:
    """Adds up the metrics of workers."""

    def __init__(self) -> None:
        self._ended: dict[str, _Folded] = {}
        self._live: dict[object, str] = {}

    def update(self, worker: object, metrics: str) -> None:
        """Replace a living worker's metrics by those of its latest heartbeat."""
        self._live[worker] = metrics

    def ended(self, worker: object) -> None:
        """Keep the counters and histograms of a worker that ended; drop its gauges."""
        if (metrics := self._live.pop(worker, None)) is not None:
            _add(self._ended, _additive(_families(metrics)))

    def collect(self) -> Iterator[Metric]:
        """Yield the families, added up as of now."""
        total: dict[str, _Folded] = {}
        for name, ended in self._ended.items():
            total[name] = _Folded(ended.kind, ended.text)
            total[name].samples = dict(ended.samples)
        for metrics in self._live.values():
            _add(total, _families(metrics))
        return (folded.metric(name) for name, folded in total.items())


def _additive(families: Iterable[Family]) -> Iterator[Family]:
    for family in families:
        _, kind, _, _ = family
        if kind in _ADDITIVE:
            yield family


def _families(metrics: str) -> list[Family]:
    try:
        return unpack(metrics)
    except ProtocolError as error:
        _log.error("a worker's metrics are left out: %s", error)
        return []


def _add(total: dict[str, _Folded], families: Iterable[Family]) -> None:
    for family in families:
        name, kind, text, _ = family
        total.setdefault(name, _Folded(kind, text)).add(family)
