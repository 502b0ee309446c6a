"""How many records a second: the loops with a handler that does nothing but count."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import by_hand
from contest import BY_HAND, Row, rates, take_turns
from ground import Ground, Tally
from library import async_loop, run_to_the_end, sync_loop
from prometheus_client import CollectorRegistry

from flowodm.metrics import PrometheusObserver

if TYPE_CHECKING:
    from collections.abc import Callable

AFTER = "ConsumerLoop after_processing"
BEFORE = "ConsumerLoop before_processing"
ASYNC = "AsyncConsumerLoop, trivial handler"
WITH_METRICS = ", PrometheusObserver"
FLOORS = {AFTER: 0.95, BEFORE: 0.9, ASYNC: 0.6}


def run(ground: Ground, records: int, rounds: int) -> list[Row]:
    """From the first handled record to the last one."""
    topic = ground.topic(records)
    seconds = take_turns(rounds, contenders(ground.bootstrap, topic, records))
    return rates("throughput", records, seconds, FLOORS)


def contenders(bootstrap: str, topic: str, records: int) -> dict[str, Callable[[], float]]:
    """Each consumes the topic in a new group and returns the seconds it took."""

    def hand() -> float:
        tally = Tally(records)
        consumer = by_hand.consumer_of(bootstrap, topic, uuid.uuid4().hex)
        by_hand.one_after_the_other(consumer, topic, lambda _order: _count(tally), tally.complete)
        return tally.seconds

    def sync(strategy: str, *, metrics: bool = False) -> float:
        tally = Tally(records)
        run_to_the_end(sync_loop(topic, tally, strategy, observers=_observers(metrics)))
        return tally.seconds

    def tasks(*, metrics: bool = False) -> float:
        tally = Tally(records)
        run_to_the_end(async_loop(topic, tally, observers=_observers(metrics)))
        return tally.seconds

    return {
        BY_HAND: hand,
        AFTER: lambda: sync("after_processing"),
        AFTER + WITH_METRICS: lambda: sync("after_processing", metrics=True),
        BEFORE: lambda: sync("before_processing"),
        ASYNC: tasks,
        ASYNC + WITH_METRICS: lambda: tasks(metrics=True),
    }


def _count(tally: Tally) -> None:
    tally.count()


def _observers(metrics: bool) -> list[PrometheusObserver]:
    return [PrometheusObserver(CollectorRegistry(), consumer="orders")] if metrics else []
