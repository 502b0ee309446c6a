"""A consumer of confluent_kafka's kind over partitions in memory, synchronous or asynchronous."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from flowodm.consume.iterators import IterationOptions, Messages, take
from flowodm.consume.steps import Poison
from flowodm.model import FlowBaseModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 10.0
POISON = b"\xff"


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"

    n: int


class Record:
    def __init__(self, partition: int, offset: int, value: bytes) -> None:
        self._partition, self._offset, self._value = partition, offset, value

    def topic(self) -> str:
        return "orders"

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value

    def error(self) -> None:
        return None


class Tombstone(Record):
    def __init__(self) -> None:
        super().__init__(0, 0, b"")

    def value(self) -> Any:
        return None


class Failed:
    def __init__(self, code: int) -> None:
        self._error = KafkaError(code)

    def topic(self) -> str:
        return "orders"

    def error(self) -> KafkaError:
        return self._error


class Answer:
    def __init__(self, place: TopicPartition, error: KafkaError | None) -> None:
        self.topic, self.partition, self.offset = place.topic, place.partition, place.offset
        self.error = error


class Topic:
    """A consumer over partitions that hold the values of their records; -1 is unreadable."""

    def __init__(self, **partitions: list[int]) -> None:
        self.logs = {int(name[1:]): values for name, values in partitions.items()}
        self.position: dict[int, int] = defaultdict(int)
        self.committed: dict[int, int] = {}
        self.history: list[int] = []
        self.refused: set[int] = set()
        self.mine = set(self.logs)
        self.closed = False
        self.events: list[Any] = []
        self.turn = threading.Lock()

    def poll(self, _timeout: float) -> Any:
        if self.closed:
            raise RuntimeError("Consumer closed")
        if self.events:
            return self.events.pop(0)
        for partition, values in self.logs.items():
            if partition in self.mine and self.position[partition] < len(values):
                offset = self.position[partition]
                self.position[partition] += 1
                value = values[offset]
                return Record(partition, offset, bytes([2 * value]) if value >= 0 else POISON)
        return None

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("orders", partition) for partition in self.mine]

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[Answer]:
        assert asynchronous is False
        if -1 in self.refused:
            raise KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION))
        answers = []
        for place in offsets:
            refused = place.partition in self.refused
            if not refused:
                self.committed[place.partition] = place.offset
                self.history.append(place.offset)
            error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED) if refused else None
            answers.append(Answer(place, error))
        return answers

    def seek(self, place: TopicPartition) -> None:
        if place.partition not in self.mine:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.position[place.partition] = place.offset

    def close(self) -> None:
        self.closed = True


class AsyncTopic:
    """A consumer whose methods are coroutines; the one that ``hold`` names waits for ``go``."""

    def __init__(self, topic: Topic, hold: str = "") -> None:
        self.topic = topic
        self.hold = hold
        self.entered = asyncio.Event()
        self.go = asyncio.Event()

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if name == self.hold:
            self.entered.set()
            await self.go.wait()
        return getattr(self.topic, name)(*args, **kwargs)

    async def poll(self, timeout: float) -> Any:  # noqa: ASYNC109 - as Kafka's
        await asyncio.sleep(0)
        return await self._call("poll", timeout)

    async def assignment(self) -> Any:
        return await self._call("assignment")

    async def commit(self, **kwargs: Any) -> Any:
        return await self._call("commit", **kwargs)

    async def seek(self, place: TopicPartition) -> None:
        await self._call("seek", place)


def batch(topic: Topic, size: int, timeout: float = 0.0, poison: Poison = Poison.RAISE) -> Any:
    return [order.n for order in take(topic, Order, size, timeout, poison)]


def iterate(topic: Topic, **wanted: Any) -> Messages[Order]:
    options = {"max_messages": None, "timeout": 0.0, "poison": Poison.RAISE, **wanted}
    return Messages(IterationOptions(Order, **options), lambda: topic)


@contextmanager
def silent_topic() -> Iterator[Topic]:
    """Make a topic whose commits are never answered; any call after a commit fails the test."""
    topic, answer = Topic(p0=[1, 2]), threading.Event()

    def commit(**_options: Any) -> None:
        for name in ("poll", "seek", "assignment", "close"):
            setattr(topic, name, lambda *_: pytest.fail("nothing comes back from there"))
        answer.wait(PATIENCE)

    topic.commit = commit  # type: ignore[method-assign]  # a broker that says nothing
    yield topic
    answer.set()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)
