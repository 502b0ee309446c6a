"""A lone record's way: from produce() to the first line of the handler.

One record at a time, so that none waits for another one; the clock is the same on both sides.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

import by_hand
from confluent_kafka import Producer
from contest import Row
from ground import Ground, Order, Profile, orders, read

from flowodm import AsyncConsumerLoop, ConsumerLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HAND = "by hand, poll(0.1)"
AFTER = "ConsumerLoop after_processing"
BEFORE = "ConsumerLoop before_processing"
ASYNC = "AsyncConsumerLoop after_processing"
#: Milliseconds beyond the hand-written loop. before_processing waits for a confirmed commit.
WITHIN = 2.0
#: Records that only warm up: the join, the first fetch, the first decoding.
WARMING = 10
PATIENCE = 30.0


class Receiver:
    """The handler's side: notes when a record came."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._came = threading.Event()
        self._at = 0.0

    def take(self, _order: Order) -> None:
        self._at = time.perf_counter()
        self._came.set()

    async def take_async(self, _order: Order) -> None:
        self.take(_order)

    def wait(self, sent: float, patience: float) -> float | None:
        """Milliseconds of its way, or None if it does not come."""
        if not self._came.wait(patience):
            return None
        self._came.clear()
        return (self._at - sent) * 1e3


def run(ground: Ground, records: int, rounds: int) -> list[Row]:
    """Median and 99th percentile of all rounds' records, for each contender."""
    topic = ground.topic(0, partitions=1)
    ways: dict[str, list[float]] = {HAND: [], AFTER: [], ASYNC: [], BEFORE: []}
    share = max(records // rounds, 1)
    for _ in range(rounds):
        for name in ways:
            ways[name] += _ways(ground.bootstrap, topic, name, share)
    rows = []
    for kind, of in (("median", statistics.median), ("p99", _p99)):
        for name, measured in ways.items():
            rows.append(_row(kind, name, of(measured), of(ways[HAND])))
    return rows


def _row(kind: str, name: str, value: float, hand: float) -> Row:
    held = name in {AFTER, ASYNC}
    return Row(
        part=f"a lone record, {kind}",
        name=name,
        value=value,
        unit="ms",
        ratio=value / hand,
        target=f"within {WITHIN:g} ms of it" if held else "",
        met=value - hand <= WITHIN if held else None,
    )


def _ways(bootstrap: str, topic: str, name: str, records: int) -> list[float]:
    receiver = Receiver()
    group = read(topic)
    target, stop = _consumer(bootstrap, topic, group, name, receiver)
    thread = threading.Thread(target=target, name="consumer")
    thread.start()
    try:
        return list(_send(bootstrap, topic, receiver, records))
    finally:
        stop()
        thread.join()


def _send(bootstrap: str, topic: str, receiver: Receiver, records: int) -> Iterator[float]:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    key, value = next(orders())
    deadline = time.monotonic() + PATIENCE
    number = 0
    while number < WARMING + records:
        sent = time.perf_counter()
        producer.produce(topic, value, key)
        producer.flush(PATIENCE)
        way = receiver.wait(sent, 1.0 if number == 0 else PATIENCE)
        if way is None:
            if time.monotonic() > deadline:
                raise RuntimeError("no record arrives")
            continue  # the group was not joined yet
        number += 1
        if number > WARMING:
            yield way
        time.sleep(0.005)  # what follows a record, such as its booking, is not the next one's


def _consumer(
    bootstrap: str, topic: str, group: str, name: str, receiver: Receiver
) -> tuple[Callable[[], None], Callable[[], None]]:
    """What to run in a thread, and how to stop it."""
    latest: Any = Profile(auto_offset_reset="latest")
    if name == HAND:
        consumer = by_hand.consumer_of(bootstrap, topic, group, reset="latest")
        over = receiver.over
        return lambda: by_hand.polling(consumer, topic, receiver.take, over), over.set
    if name == ASYNC:
        tasks = AsyncConsumerLoop(
            Order, receiver.take_async, latest, group, commit_strategy="after_processing"
        )
        return lambda: asyncio.run(tasks.run()), tasks.stop
    strategy = "after_processing" if name == AFTER else "before_processing"
    loop = ConsumerLoop(Order, receiver.take, latest, group, commit_strategy=strategy)
    return loop.run, loop.stop


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]
