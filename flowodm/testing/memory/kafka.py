"""Kafka in this process's memory: topics, groups' offsets, and clients that look like Kafka's.

It is meant for tests of one loop, or of several that feed each other. What it does not have:
brokers, members that share the partitions of a group, time-outs, transactions. Whoever joins a
group first has all of its partitions until it leaves.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from confluent_kafka import KafkaError

from flowodm.connection import get_kafka_connection
from flowodm.testing.memory.consumer import MemoryConsumer
from flowodm.testing.memory.message import MemoryMessage
from flowodm.testing.memory.producer import MemoryProducer
from flowodm.testing.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType


TP: TypeAlias = tuple[str, int]
#: A topic, and a record for it whose value is bytes by now.
Entry: TypeAlias = tuple[str, Record]


class InMemoryKafka:
    """Takes the place of Kafka for everything that uses flowodm's connection in this process.

    ::

        with InMemoryKafka() as kafka:
            OrderEvent(order_id="1", amount=2.5).produce()
            assert kafka.records("orders")[0].key() == b"1"

    Topics are made when they are first named. There is no schema registry unless one is given, so
    values are bare Avro. Afterwards the connection is as it was.

    Args:
        partitions: How many a topic has that is not made with :meth:`create_topic`.
        schema_registry_url: A registry to use.

    Raises:
        ValueError: There would be no partition.
        ConfigurationError: When entered: there is another one already.
    """

    def __init__(self, partitions: int = 1, schema_registry_url: str | None = None) -> None:
        self.registry_config: dict[str, Any] | None = None
        if schema_registry_url is not None:
            self.registry_config = {"url": schema_registry_url}
        _check_number(partitions)
        self.partitions = partitions
        #: Guards everything here; notified when anything changes.
        self.changed = threading.Condition(threading.RLock())
        #: Counts the calls of :meth:`nudge`.
        self.nudges = 0
        self.logs: dict[str, list[list[tuple[int, MemoryMessage]]]] = {}
        self.offsets: dict[str, dict[TP, tuple[int, str]]] = defaultdict(dict)
        self.members: dict[str, list[MemoryConsumer]] = defaultdict(list)
        self._refused: dict[str, KafkaError] = {}
        #: How many records have come so far.
        self.count = 0
        self._staged: list[Entry] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(get_kafka_connection().replaced_by(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    # ---- for tests -----------------------------------------------------------------------

    def create_topic(self, topic: str, partitions: int) -> None:
        """Make a topic; one that exists gets more partitions, never fewer.

        Raises:
            ValueError: There would be no partition.
        """
        _check_number(partitions)
        with self.changed:
            log = self.logs.setdefault(topic, [])
            log.extend([] for _ in range(partitions - len(log)))
            self.changed.notify_all()

    def records(self, topic: str) -> list[MemoryMessage]:
        """All records of a topic, in the order in which they came."""
        with self.changed:
            return _in_order(self.logs.get(topic, []))

    def records_since(self, count: int) -> list[MemoryMessage]:
        """All records of any topic that have come since there were so many."""
        with self.changed:
            every = [log for logs in self.logs.values() for log in logs]
            return _in_order([[entry for entry in log if entry[0] >= count] for log in every])

    def append(self, topic: str, *records: Record) -> list[MemoryMessage]:
        """Put records there, all at once; returns them as Kafka has them.

        Args:
            topic: The topic.
            records: Their values are bytes or None; messages are produced instead.
        """
        return self.append_all((topic, record) for record in records)

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Partition to offset, of the partitions for which a group has committed one."""
        with self.changed:
            found = self.offsets[group].items()
            return {tp[1]: offset for tp, (offset, _) in sorted(found) if tp[0] == topic}

    def refuse(self, topic: str, reason: int = KafkaError.TOPIC_AUTHORIZATION_FAILED) -> None:
        """Answer everything that is produced to a topic from now on with an error.

        Args:
            topic: The topic.
            reason: One of KafkaError's codes.
        """
        with self.changed:
            self._refused[topic] = KafkaError(reason)

    # ---- for the clients -----------------------------------------------------------------

    def consumer(self, config: dict[str, Any]) -> MemoryConsumer:
        """A consumer, in place of confluent_kafka.Consumer."""
        return MemoryConsumer(self, config)

    def producer(self, config: dict[str, Any]) -> MemoryProducer:
        """A producer, in place of confluent_kafka.Producer."""
        return MemoryProducer(self, config)

    def topic(self, topic: str) -> list[list[tuple[int, MemoryMessage]]]:
        """A topic's partitions, made if need be; with the lock held."""
        if topic not in self.logs:
            self.create_topic(topic, self.partitions)
        return self.logs[topic]

    def append_all(self, entries: Iterable[Entry]) -> list[MemoryMessage]:
        """Put records of any topics there, all at once."""
        with self.changed:
            appended = [self._append(topic, record) for topic, record in entries]
            self.changed.notify_all()
        return appended

    def produced(self, topic: str, record: Record) -> tuple[KafkaError | None, MemoryMessage]:
        """What comes of one record that a producer sends."""
        with self.changed:
            if self._staged is not None:
                self._staged.append((topic, record))
                return None, _message(topic, record, 0, 0)
            error = self._refused.get(topic)
            if error is not None:
                return error, _message(topic, record, 0, None)
            return None, self.append(topic, record)[0]

    @contextmanager
    def staging(self) -> Iterator[list[Entry]]:
        """Meanwhile what is produced comes into the list, and not into a topic."""
        with self.changed:
            staged: list[Entry] = []
            self._staged = staged
        try:
            yield staged
        finally:
            with self.changed:
                self._staged = None

    def nudge(self) -> None:
        """Let every poll() return at once, with nothing if there is nothing."""
        with self.changed:
            self.nudges += 1
            self.changed.notify_all()

    def _append(self, topic: str, record: Record) -> MemoryMessage:
        log = self.topic(topic)
        number = record.partition
        if number is None:
            key = _bytes(record.key)
            number = (self.count if key is None else zlib.crc32(key)) % len(log)
        if not 0 <= number < len(log):
            raise ValueError(f"topic {topic} has {len(log)} partitions, and no partition {number}")
        message = _message(topic, record, number, len(log[number]))
        log[number].append((self.count, message))
        self.count += 1
        return message


def _in_order(logs: list[list[tuple[int, MemoryMessage]]]) -> list[MemoryMessage]:
    entries = sorted((e for log in logs for e in log), key=lambda entry: entry[0])
    return [message for _, message in entries]


def _message(topic: str, record: Record, partition: int, offset: int | None) -> MemoryMessage:
    if record.value is not None and not isinstance(record.value, bytes):
        raise TypeError(f"a record's value is bytes or None here, not {type(record.value)}")
    return MemoryMessage(
        topic,
        partition,
        offset,
        value=record.value,
        key=_bytes(record.key),
        headers=record.headers,
        timestamp=int(time.time() * 1000) if record.timestamp is None else record.timestamp,
    )


def _bytes(key: str | bytes | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key


def _check_number(partitions: int) -> None:
    if partitions < 1:
        raise ValueError(f"a topic has 1 partition or more, not {partitions}")
