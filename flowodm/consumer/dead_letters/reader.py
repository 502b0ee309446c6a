"""Reads a topic by offsets, without joining a group."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, TypeVar

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

CALL_TIMEOUT: Final = 10.0
"""Seconds for a call into the client that takes no time-out."""

READ_TIMEOUT = 30.0
"""Seconds without a record after which reading ends, and for which a call is tried again."""

BATCH: Final = 100
"""The most records of one fetch."""

_FETCH_SECONDS: Final = 0.1
"""The longest wait of one fetch, and the pause before a call is tried again."""

_END_OF_PARTITION = KafkaError._PARTITION_EOF  # noqa: SLF001 - the constant's public name

_RETRIABLE: Final = {
    KafkaError._TRANSPORT,  # noqa: SLF001 - the constant's public name
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - the same
    KafkaError._TIMED_OUT,  # noqa: SLF001 - the same
    KafkaError._WAIT_COORD,  # noqa: SLF001 - the same
}
"""The client's own errors after which a call is tried again; a broker marks its own as such."""

_FATAL: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - the constant's public name
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - the same
}
"""Errors of a fetch from which the client does not recover by itself."""


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """A range of a partition's offsets: from ``first`` up to, and without, ``end``."""

    first: int
    end: int


class TopicReader:
    """Reads one topic. It commits in the name of a group that it does not join.

    Args:
        topic: The topic.
        group: The group, for commits and for ACLs.
        patience: Seconds without a record after which reading ends, and for which a call is tried
            again; READ_TIMEOUT by default.

    Raises:
        ConfigurationError: The address of Kafka is missing, or librdkafka refuses a property.
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
        """Return the reader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the consumer."""
        try:
            bounded(self._consumer.close, CALL_TIMEOUT)
        except (KafkaException, TimeoutError, RuntimeError) as error:
            _log.warning("the consumer of %s did not close: %s", self.topic, summary(error))

    def ranges(self) -> dict[int, OffsetRange]:
        """Ask for the offsets that each partition holds now.

        Raises:
            TopicError: The topic does not exist, or may not be read.
            ConsumerError: Kafka does not answer.
        """
        numbers = self.retry(lambda: partitions_of(self._consumer, self.topic))
        return {number: self._range(TopicPartition(self.topic, number)) for number in numbers}

    def _range(self, place: TopicPartition) -> OffsetRange:
        consumer = self._consumer
        return self.retry(
            lambda: OffsetRange(*consumer.get_watermark_offsets(place, timeout=ANSWER_TIMEOUT))
        )

    def offsets_at(self, milliseconds: int, numbers: Iterable[int]) -> dict[int, int]:
        """Look up the first offset with this timestamp or a later one.

        Args:
            milliseconds: The timestamp, in milliseconds since 1970.
            numbers: The partitions. Those without such a record are left out of the result.

        Raises:
            ConsumerError: Kafka does not answer.
        """
        places = [TopicPartition(self.topic, number, milliseconds) for number in numbers]
        answers = self.retry(
            lambda: _checked(self._consumer.offsets_for_times(places, timeout=ANSWER_TIMEOUT))
        )
        return {place.partition: place.offset for place in answers if place.offset >= 0}

    def committed(self, numbers: list[int]) -> dict[int, tuple[int, str]]:
        """Look up the group's committed offsets, each with its metadata.

        Args:
            numbers: The partitions. Those without a committed offset are left out of the result.

        Raises:
            ConsumerError: Kafka does not answer.
        """
        places = [TopicPartition(self.topic, number) for number in numbers]
        answers = self.retry(
            lambda: _checked(self._consumer.committed(places, timeout=ANSWER_TIMEOUT))
        )
        return {p.partition: (p.offset, p.metadata or "") for p in answers if p.offset >= 0}

    def commit(self, places: list[TopicPartition]) -> None:
        """Commit offsets, and wait for the broker's answer.

        Raises:
            ConsumerError: The offsets are not committed.
        """
        if not places:
            return

        def commit() -> list[TopicPartition] | None:
            return self._consumer.commit(offsets=places, asynchronous=False)

        self.retry(lambda: _checked(bounded(commit, CALL_TIMEOUT)))

    def read(self, ranges: Mapping[int, OffsetRange]) -> Iterator[list[Message]]:
        """Read the records of some ranges of offsets, in batches.

        Args:
            ranges: The ranges, by partition.

        Raises:
            ConsumerError: No record has come in time, or the topic may not be read.
        """
        ends = self._assign_nonempty(ranges)
        problem, deadline = "no record came", self._deadline()
        while ends:
            messages, error = self._fetch()
            problem = error or problem
            unread = len(ends)
            batch = [message for message in messages if _take(message, ends)]
            if batch:
                yield batch
            if batch or len(ends) < unread:
                deadline = self._deadline()
            elif time.monotonic() >= deadline:
                raise ConsumerError(f"topic {self.topic}, partitions {sorted(ends)}: {problem}")

    def follow(self, first: Mapping[int, int]) -> Iterator[list[Message]]:
        """Read all records from these offsets on, in batches, without an end.

        While no broker answers, it waits.

        Args:
            first: The first offset of each partition.

        Raises:
            ConsumerError: The topic may not be read, or was deleted.
        """
        self._assign(first)
        while True:
            messages, _ = self._fetch()
            batch = [message for message in messages if message.error() is None]
            if batch:
                yield batch

    def _assign_nonempty(self, ranges: Mapping[int, OffsetRange]) -> dict[int, int]:
        """Assign the partitions whose range holds offsets; return where each range ends."""
        nonempty = {n: offsets for n, offsets in ranges.items() if offsets.first < offsets.end}
        self._assign({number: offsets.first for number, offsets in nonempty.items()})
        return {number: offsets.end for number, offsets in nonempty.items()}

    def _assign(self, first: Mapping[int, int]) -> None:
        places = [TopicPartition(self.topic, number, offset) for number, offset in first.items()]
        self._consumer.assign(places)

    def _fetch(self) -> tuple[list[Message], str]:
        """Fetch what there is; return records and ends of partitions, and the last error's text.

        Raises:
            ConsumerError: An error from which the client does not recover.
        """
        messages, problem = [], ""
        for message in self._consumer.consume(BATCH, _FETCH_SECONDS):
            error = message.error()
            if error is None or error.code() == _END_OF_PARTITION:
                messages.append(message)
            elif error.fatal() or error.code() in _FATAL:
                raise ConsumerError(f"topic {self.topic}: {error.str()}")
            else:
                problem = error.str()
        return messages, problem

    def retry(self, call: Callable[[], T]) -> T:
        """Call a function, and again while it fails with an error that may pass.

        Raises:
            ConsumerError: The error does not pass, or has not passed in time.
        """
        deadline = self._deadline()
        while True:
            try:
                return call()
            except (TimeoutError, KafkaException) as error:
                if not _may_pass(error) or time.monotonic() >= deadline:
                    place = f"topic {self.topic}, group {self._group}"
                    raise ConsumerError(f"{place}: {summary(error)}") from error
            time.sleep(_FETCH_SECONDS)

    def _deadline(self) -> float:
        return time.monotonic() + (READ_TIMEOUT if self._patience is None else self._patience)


def _checked(places: list[TopicPartition] | None) -> list[TopicPartition]:
    """Return a broker's answer, or raise the first error in it."""
    for place in places or ():
        if place.error is not None:
            raise KafkaException(place.error)
    return places or []


def _may_pass(error: TimeoutError | KafkaException) -> bool:
    if isinstance(error, TimeoutError):
        return True
    reason: KafkaError = error.args[0]
    return reason.retriable() or reason.code() in _RETRIABLE


def _take(message: Message, ends: dict[int, int]) -> bool:
    """Return whether a message is a record before its partition's end.

    A partition that was read to its end leaves ``ends``. The event at the end of a partition shows
    the same where transaction markers or compaction have left no record to show it.
    """
    number, offset = message.partition(), message.offset()
    if number is None or offset is None or number not in ends:
        return False
    end, is_record = ends[number], message.error() is None
    if offset + is_record >= end:
        del ends[number]
    return is_record and offset < end
