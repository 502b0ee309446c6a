"""What a good engineer writes with confluent-kafka, fastavro and asyncio, without the library.

These are what the loops are measured against, so they are written to be fast and right: typed
messages, commits each second of nothing but what is handled, bounded memory. They know neither
retries nor rebalances nor metrics; that is what the loops add.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING, Any

import fastavro
from confluent_kafka import Consumer, TopicPartition
from ground import Order

from flowodm.avro.mapping import record_schema

if TYPE_CHECKING:
    import threading
    from collections.abc import Awaitable, Callable

    from confluent_kafka import Message

SCHEMA: Any = fastavro.parse_schema(record_schema(Order))
#: Where keys have chains, nothing is fetched while as many records as this wait: two batches, as
#: one does it at first; or, as one does it who has measured, so many that all keys have work. For
#: a batch that Kafka sends is of one partition, and so of a quarter of the keys here.
TWO_BATCHES, EVERY_KEY = 1_000, 10_000
PLACES = 100


def consumer_of(bootstrap: str, topic: str, group: str, *, reset: str = "earliest") -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": reset,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
        }
    )
    consumer.subscribe([topic])
    return consumer


def decode(message: Message) -> Order:
    if message.error():
        raise RuntimeError(message.error())
    values = fastavro.schemaless_reader(BytesIO(message.value() or b""), SCHEMA, None)
    return Order.model_validate(values)


class Commits:
    """Commits each second, and at the end for certain."""

    def __init__(self, consumer: Consumer, topic: str) -> None:
        self._consumer, self._topic = consumer, topic
        self._next = time.monotonic() + 1
        self._last: dict[int, int] = {}

    def if_due(self, positions: Callable[[], dict[int, int]]) -> None:
        if time.monotonic() >= self._next:
            self.now(positions(), asynchronous=True)
            self._next = time.monotonic() + 1

    def now(self, positions: dict[int, int], *, asynchronous: bool) -> None:
        changed = {p: o for p, o in positions.items() if self._last.get(p) != o}
        if changed:
            offsets = [TopicPartition(self._topic, p, o) for p, o in changed.items()]
            self._consumer.commit(offsets=offsets, asynchronous=asynchronous)  # type: ignore[call-overload]  # two overloads
            self._last.update(changed)


def one_after_the_other(
    consumer: Consumer, topic: str, handle: Callable[[Order], None], over: threading.Event
) -> None:
    """The loop that everybody writes first: consume(500), decode, handle, commit each second."""
    positions: dict[int, int] = {}
    commits = Commits(consumer, topic)
    while not over.is_set():
        for message in consumer.consume(500, 0.1):
            handle(decode(message))
            positions[message.partition()] = message.offset() + 1  # type: ignore[index, operator]  # never None
        commits.if_due(lambda: positions)
    commits.now(positions, asynchronous=False)
    consumer.close()


def polling(
    consumer: Consumer, topic: str, handle: Callable[[Order], None], over: threading.Event
) -> None:
    """One record a poll: a lone record waits for nothing."""
    positions: dict[int, int] = {}
    commits = Commits(consumer, topic)
    while not over.is_set():
        message = consumer.poll(0.1)
        if message is not None:
            handle(decode(message))
            positions[message.partition()] = message.offset() + 1  # type: ignore[index, operator]  # never None
        commits.if_due(lambda: positions)
    commits.now(positions, asynchronous=False)
    consumer.close()


class Finished:
    """The contiguous prefix of handled records of each partition."""

    def __init__(self) -> None:
        self._started: dict[int, deque[int]] = {}
        self._done: dict[int, set[int]] = {}
        self._positions: dict[int, int] = {}

    def start(self, message: Message) -> None:
        partition: Any = message.partition()
        offsets = self._started.get(partition)
        if offsets is None:
            offsets = self._started[partition] = deque()
            self._done[partition] = set()
        offsets.append(message.offset())  # type: ignore[arg-type]  # never None

    def finish(self, message: Message) -> None:
        self._done[message.partition()].add(message.offset())  # type: ignore[index, arg-type]  # never None

    def positions(self) -> dict[int, int]:
        for partition, started in self._started.items():
            done = self._done[partition]
            while started and started[0] in done:
                offset = started.popleft()
                done.remove(offset)
                self._positions[partition] = offset + 1
        return self._positions


async def with_a_semaphore(
    consumer: Consumer,
    topic: str,
    handle: Callable[[Order], Awaitable[None]],
    over: threading.Event,
) -> None:
    """A task a record, at most 100 at a time; the next batch is fetched by a thread."""
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(PLACES)
    finished, commits = Finished(), Commits(consumer, topic)
    tasks: set[asyncio.Task[None]] = set()

    async def work(message: Message) -> None:
        try:
            await handle(decode(message))
            finished.finish(message)
        finally:
            places.release()

    with ThreadPoolExecutor(1) as thread:
        while not over.is_set():
            for message in await loop.run_in_executor(thread, consumer.consume, 500, 0.1):
                await places.acquire()
                finished.start(message)
                task = loop.create_task(work(message))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            commits.if_due(finished.positions)
        await asyncio.gather(*tasks)
    commits.now(finished.positions(), asynchronous=False)
    consumer.close()


async def with_a_chain_for_each_key(
    consumer: Consumer,
    topic: str,
    handle: Callable[[Order], Awaitable[None]],
    over: threading.Event,
    most_waiting: int = TWO_BATCHES,
) -> None:
    """A task for each key that has records, at most 100 handlers at a time."""
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(PLACES)
    finished, commits = Finished(), Commits(consumer, topic)
    backlogs: dict[bytes | None, deque[Message]] = {}
    tasks: set[asyncio.Task[None]] = set()
    waiting = 0
    room = asyncio.Event()

    async def work(key: bytes | None, backlog: deque[Message]) -> None:
        nonlocal waiting
        while backlog:
            message = backlog.popleft()
            async with places:
                await handle(decode(message))
            finished.finish(message)
            waiting -= 1
            if waiting == most_waiting - 1:
                room.set()
        del backlogs[key]

    with ThreadPoolExecutor(1) as thread:
        while not over.is_set():
            for message in await loop.run_in_executor(thread, consumer.consume, 500, 0.1):
                finished.start(message)
                waiting += 1
                key = message.key()
                backlog = backlogs.get(key)
                if backlog is not None:
                    backlog.append(message)
                    continue
                backlogs[key] = backlog = deque([message])
                task = loop.create_task(work(key, backlog))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            if waiting >= most_waiting:
                room.clear()
                await room.wait()
            commits.if_due(finished.positions)
        await asyncio.gather(*tasks)
    commits.now(finished.positions(), asynchronous=False)
    consumer.close()
