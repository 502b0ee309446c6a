"""The state of the in-memory Kafka: topics with their records, and groups with their offsets."""

from __future__ import annotations

import threading
import time
import zlib
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from flowodm.testing.memory.message import MemoryMessage
from flowodm.testing.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from confluent_kafka import KafkaError

TP: TypeAlias = tuple[str, int]
"""A partition: its topic and its number."""

TopicRecord: TypeAlias = tuple[str, Record]
"""A topic, and a record for it whose value is bytes or None."""


class Stored(NamedTuple):
    """A record in its partition.

    Attributes:
        sequence: Its place among all records of all topics.
        message: The record as consumers get it.
    """

    sequence: int
    message: MemoryMessage


class MemoryLog:
    """Topics, records, groups and offsets of an in-memory Kafka. Thread-safe.

    Args:
        partitions: The number of partitions of a topic that is created on demand.

    Attributes:
        changed: The lock of all that is here; notified when anything changes.
        nudges: How often :meth:`nudge` was called.
        topics: Topic to its partitions, each a list of records.
        offsets: Consumer group to its committed offsets, each with its metadata.
        members: Consumer group to its members, in the order in which they joined.
        count: The number of records that were appended.

    Raises:
        ValueError: ``partitions`` is less than 1.
    """

    def __init__(self, partitions: int) -> None:
        _check_partitions(partitions)
        self.changed = threading.Condition(threading.RLock())
        self.nudges = 0
        self.topics: dict[str, list[list[Stored]]] = {}
        self.offsets: dict[str, dict[TP, tuple[int, str]]] = defaultdict(dict)
        self.members: dict[str, list[object]] = defaultdict(list)
        self.count = 0
        self._partitions = partitions
        self._refused: dict[str, KafkaError] = {}
        self._staged: list[TopicRecord] | None = None

    def create_topic(self, topic: str, partitions: int) -> None:
        """Create a topic; one that exists gets more partitions, never fewer.

        Raises:
            ValueError: ``partitions`` is less than 1.
        """
        _check_partitions(partitions)
        with self.changed:
            existing = self.topics.setdefault(topic, [])
            existing.extend([] for _ in range(partitions - len(existing)))
            self.changed.notify_all()

    def partitions_of(self, topic: str) -> list[list[Stored]]:
        """Return a topic's partitions; create the topic on demand. The caller holds the lock."""
        if topic not in self.topics:
            self.create_topic(topic, self._partitions)
        return self.topics[topic]

    # ---- records -------------------------------------------------------------------------

    def append(self, topic: str, record: Record) -> MemoryMessage:
        """Append a record; return it as consumers get it."""
        (message,) = self.append_all([(topic, record)])
        return message

    def append_all(self, records: Iterable[TopicRecord]) -> list[MemoryMessage]:
        """Append records of any topics; no consumer sees some of them without the others.

        Raises:
            ValueError: A record's partition does not exist.
            TypeError: A record's value is neither bytes nor None.
        """
        with self.changed:
            appended = [self._append(topic, record) for topic, record in records]
            self.changed.notify_all()
        return appended

    def produce(self, topic: str, record: Record) -> tuple[KafkaError | None, MemoryMessage]:
        """Append a producer's record; return the error, if there is one, and the record."""
        with self.changed:
            if self._staged is not None:
                self._staged.append((topic, record))
                return None, _message(topic, record, partition=0, offset=0)
            error = self._refused.get(topic)
            if error is not None:
                return error, _message(topic, record, partition=0, offset=None)
            return None, self.append(topic, record)

    def refuse(self, topic: str, error: KafkaError) -> None:
        """Answer every record that is produced to a topic from now on with an error."""
        with self.changed:
            self._refused[topic] = error

    @contextmanager
    def staging(self) -> Iterator[list[TopicRecord]]:
        """Collect the records that are produced during the context, instead of appending them."""
        with self.changed:
            staged: list[TopicRecord] = []
            self._staged = staged
        try:
            yield staged
        finally:
            with self.changed:
                self._staged = None

    def records(self, topic: str) -> list[MemoryMessage]:
        """Return all records of a topic, in the order in which they were appended."""
        with self.changed:
            return _in_order(self.topics.get(topic, []))

    def records_since(self, count: int) -> list[MemoryMessage]:
        """Return the records of all topics that were appended after the first ``count``."""
        with self.changed:
            partitions = [partition for topic in self.topics.values() for partition in topic]
            return _in_order(partitions, since=count)

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return a group's committed offset for each partition of a topic that has one."""
        with self.changed:
            offsets = sorted(self.offsets[group].items())
        return {tp[1]: offset for tp, (offset, _) in offsets if tp[0] == topic}

    def nudge(self) -> None:
        """Let every waiting poll() return at once, with or without a record."""
        with self.changed:
            self.nudges += 1
            self.changed.notify_all()

    def _append(self, topic: str, record: Record) -> MemoryMessage:
        partitions = self.partitions_of(topic)
        number = record.partition
        if number is None:
            key = _bytes(record.key)
            number = (self.count if key is None else zlib.crc32(key)) % len(partitions)
        if not 0 <= number < len(partitions):
            raise ValueError(
                f"topic {topic} has no partition {number}: it has {len(partitions)}, "
                "numbered from 0"
            )
        message = _message(topic, record, partition=number, offset=len(partitions[number]))
        partitions[number].append(Stored(self.count, message))
        self.count += 1
        return message


def _in_order(partitions: Iterable[list[Stored]], since: int = 0) -> list[MemoryMessage]:
    stored = [entry for partition in partitions for entry in partition]
    stored.sort(key=lambda entry: entry.sequence)
    return [entry.message for entry in stored if entry.sequence >= since]


def _message(topic: str, record: Record, *, partition: int, offset: int | None) -> MemoryMessage:
    if record.value is not None and not isinstance(record.value, bytes):
        raise TypeError(f"a record's value must be bytes or None, got {type(record.value)}")
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


def _check_partitions(partitions: int) -> None:
    if partitions < 1:
        raise ValueError(f"a topic must have at least 1 partition, got {partitions}")
