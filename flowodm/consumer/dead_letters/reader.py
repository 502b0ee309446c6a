"""Reads a topic by offsets, in no group: what it holds now, or from a place on."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from flowodm.blocking import bounded
from flowodm.connection import get_kafka_connection
from flowodm.consumer.dead_letters.topic import ANSWER_TIMEOUT, partitions_of
from flowodm.exceptions import ConfigurationError, ConsumerError, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from confluent_kafka import Message

_log = logging.getLogger("flowodm.consumer")

T = TypeVar("T")

CALL_TIMEOUT = 10.0
"""Seconds for a call into the client that takes no time-out."""

#: Seconds without a record after which reading gives up, and in which an error may pass.
READ_TIMEOUT = 30.0
#: Records that are read at a time.
BATCH = 100
#: The longest single wait for records, in seconds.
_SLICE = 0.1

_END_OF_PARTITION = KafkaError._PARTITION_EOF  # noqa: SLF001 - the constant's public name
#: The client's own errors that may pass; a broker's say so themselves.
_PASSING = {
    KafkaError._TRANSPORT,  # noqa: SLF001 - the constant's public name
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - the same
    KafkaError._TIMED_OUT,  # noqa: SLF001 - the same
    KafkaError._WAIT_COORD,  # noqa: SLF001 - the same
}
#: Errors in the midst of records that the client does not mend.
_HOPELESS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - the constant's public name
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - the same
}


@dataclass(frozen=True, slots=True)
class Extent:
    """A stretch of a partition: from ``first`` up to, and without, ``end``."""

    first: int
    end: int


class TopicReader:
    """Reads one topic; its group is a name to commit under and never joined.

    Args:
        topic: The topic.
        group: The name; also where an ACL asks for a group.
        patience: Seconds in which an error may pass, and without a record after which reading
            gives up; READ_TIMEOUT by default.

    Raises:
        ConfigurationError: There is no address of a Kafka, or librdkafka refuses a property.
    """

    def __init__(self, topic: str, group: str, patience: float | None = None) -> None:
        self.topic = topic
        self._group = group
        self._patience = patience
        extra = {
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
        connection = get_kafka_connection()
        config = connection.consumer_config(group, extra=extra)
        try:
            self._consumer = connection.consumer_class(Consumer)(config)
        except (KafkaException, ValueError, TypeError) as error:
            text = f"the consumer's configuration is refused: {summary(error)}"
            raise ConfigurationError(text) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            bounded(self._consumer.close, CALL_TIMEOUT)
        except (KafkaException, TimeoutError, RuntimeError) as error:
            _log.warning("the consumer of %s did not close: %s", self.topic, summary(error))

    def extents(self) -> dict[int, Extent]:
        """What each partition holds now.

        Raises:
            TopicError: The topic does not exist, or may not be read.
            ConsumerError: Kafka does not answer.
        """
        numbers = self.ask(lambda: partitions_of(self._consumer, self.topic))
        return {number: self._extent(TopicPartition(self.topic, number)) for number in numbers}

    def _extent(self, place: TopicPartition) -> Extent:
        consumer = self._consumer
        return self.ask(
            lambda: Extent(*consumer.get_watermark_offsets(place, timeout=ANSWER_TIMEOUT))
        )

    def offsets_at(self, milliseconds: int, numbers: Iterable[int]) -> dict[int, int]:
        """The first record with this timestamp or a later one, of the partitions that have one.

        Raises:
            ConsumerError: Kafka does not answer.
        """
        places = [TopicPartition(self.topic, number, milliseconds) for number in numbers]
        found = self.ask(
            lambda: _answered(self._consumer.offsets_for_times(places, timeout=ANSWER_TIMEOUT))
        )
        return {place.partition: place.offset for place in found if place.offset >= 0}

    def committed(self, numbers: list[int]) -> dict[int, tuple[int, str]]:
        """Offset and note of those partitions for which the group has committed one."""
        places = [TopicPartition(self.topic, number) for number in numbers]
        found = self.ask(
            lambda: _answered(self._consumer.committed(places, timeout=ANSWER_TIMEOUT))
        )
        return {p.partition: (p.offset, p.metadata or "") for p in found if p.offset >= 0}

    def commit(self, places: list[TopicPartition]) -> None:
        """Commit, and wait for the broker's answer."""
        commit = self._consumer.commit
        if places:
            self.ask(
                lambda: _answered(
                    bounded(lambda: commit(offsets=places, asynchronous=False), CALL_TIMEOUT)
                )
            )

    def read(self, extents: Mapping[int, Extent]) -> Iterator[list[Message]]:
        """The records of these stretches, in batches.

        Raises:
            ConsumerError: No record has come in time, or the topic may not be read.
        """
        ends = {n: extent.end for n, extent in extents.items() if extent.first < extent.end}
        self._consumer.assign([TopicPartition(self.topic, n, extents[n].first) for n in ends])
        trouble, deadline = "no record came", self._deadline()
        while ends:
            batch, before = [], len(ends)
            for record in self._consumer.consume(BATCH, _SLICE):
                error = record.error()
                if error is not None and error.code() != _END_OF_PARTITION:
                    trouble = self._judge(error)
                elif _take(record, ends):
                    batch.append(record)
            if batch:
                yield batch
            if batch or len(ends) < before:
                deadline = self._deadline()
            elif time.monotonic() >= deadline:
                raise ConsumerError(f"topic {self.topic}, partitions {sorted(ends)}: {trouble}")

    def follow(self, first: Mapping[int, int]) -> Iterator[list[Message]]:
        """The records from these offsets on, in batches, without an end.

        A broker that is away is waited for.

        Raises:
            ConsumerError: The topic may not be read, or is there no longer.
        """
        self._consumer.assign([TopicPartition(self.topic, n, first[n]) for n in first])
        while True:
            batch = []
            for record in self._consumer.consume(BATCH, _SLICE):
                error = record.error()
                if error is None:
                    batch.append(record)
                elif error.code() != _END_OF_PARTITION:
                    self._judge(error)
            if batch:
                yield batch

    def _judge(self, error: KafkaError) -> str:
        if error.fatal() or error.code() in _HOPELESS:
            raise ConsumerError(f"topic {self.topic}: {error.str()}")
        return error.str()

    def ask(self, question: Callable[[], T]) -> T:
        """Ask again while the answer is an error that may pass.

        Raises:
            ConsumerError: It has not passed in time, or may not.
        """
        deadline = self._deadline()
        while True:
            try:
                return question()
            except (TimeoutError, KafkaException) as error:
                if not _may_pass(error) or time.monotonic() >= deadline:
                    place = f"topic {self.topic}, group {self._group}"
                    raise ConsumerError(f"{place}: {summary(error)}") from error
            time.sleep(_SLICE)

    def _deadline(self) -> float:
        return time.monotonic() + (READ_TIMEOUT if self._patience is None else self._patience)


def _answered(places: list[TopicPartition] | None) -> list[TopicPartition]:
    for place in places or ():
        if place.error is not None:
            raise KafkaException(place.error)
    return places or []


def _may_pass(error: TimeoutError | KafkaException) -> bool:
    reason = None if isinstance(error, TimeoutError) else error.args[0]
    return reason is None or reason.retriable() or reason.code() in _PASSING


def _take(record: Message, ends: dict[int, int]) -> bool:
    """Whether a record lies before its partition's end; a partition that is through leaves.

    The event at the end of a partition tells the same where transaction markers or compaction
    have left no record to tell it.
    """
    number, offset = record.partition(), record.offset()
    if number is None or offset is None or number not in ends:
        return False
    end, is_record = ends[number], record.error() is None
    if offset + is_record >= end:
        del ends[number]
    return is_record and offset < end
