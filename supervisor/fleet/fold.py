"""The metrics of all workers, added up over all the processes that a slot has had.

A worker sends all its families once a second. Counters and histograms of workers that ended
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
        _log.error("a worker's metrics are left out: %s", error)
        return []


def _add(total: dict[str, _Folded], families: Iterable[Family]) -> None:
    for family in families:
        name, kind, text, _ = family
        total.setdefault(name, _Folded(kind, text)).add(family)
