"""Handing messages to the producer and waiting for what the broker says to each."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from confluent_kafka import KafkaException

from flowodm.connection import get_kafka_connection
from flowodm.exceptions import FlowODMError, ProducerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import KafkaError, Message, Producer

Headers: TypeAlias = Mapping[str, Any] | Sequence[tuple[str, Any]]

logger = logging.getLogger(__name__)

QUEUE_TIMEOUT = 10.0
"""Seconds that produce_nowait waits for room in a full local queue."""

UNCONFIRMED = "the broker has not confirmed the message in time; it may still be delivered"

_POLL_INTERVAL = 0.01
_LOG_INTERVAL = 1.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Reported(Protocol):
    """Who is told what became of a message."""

    def report(self, error: KafkaError | None, message: Message) -> None:
        """Take the broker's answer; librdkafka calls it once per message."""


class Delivery:
    """What becomes of one message. Thread-safe.

    Args:
        topic: For the error's text.
        callback: Called with ``(error, message)`` as confluent_kafka does, from the thread
            that polls the producer.
    """

    def __init__(
        self, topic: str, callback: Callable[[KafkaError | None, Message], Any] | None = None
    ) -> None:
        self._topic = topic
        self._callback = callback
        self._done = threading.Event()
        self._error: KafkaError | None = None

    def report(self, error: KafkaError | None, message: Message) -> None:
        """Take the broker's answer; librdkafka calls it once per message."""
        self._error = error
        self._done.set()
        if self._callback is not None:
            self._callback(error, message)

    def is_answered(self, producer: Producer, deadline: float) -> bool:
        """Wait as :meth:`wait` does, and tell whether the broker has said anything."""
        if get_kafka_connection().polls(producer):
            self._done.wait(max(0.0, deadline - time.monotonic()))
        while not self._done.is_set() and time.monotonic() < deadline:
            producer.poll(_POLL_INTERVAL)  # a producer of the caller's own, which nobody polls
        return self._done.is_set()

    def wait(self, producer: Producer, deadline: float) -> None:
        """Wait for this message, not for the queue.

        Args:
            producer: What the message was given to.
            deadline: On ``time.monotonic()``'s scale.

        Raises:
            ProducerError: The broker refused it, or has not confirmed it by the deadline. In the
                latter case it may still be delivered: librdkafka keeps trying for
                ``message.timeout.ms``.
        """
        if not self.is_answered(producer, deadline):
            raise ProducerError(f"topic {self._topic}: {UNCONFIRMED}")
        if self._error is not None:
            raise undelivered(self._topic, self._error)


class Unheard:
    """Says in the log what became of messages that nobody waits for, if they were not delivered.

    At most one line a second, which says how many there were so far. Thread-safe.

    Args:
        topic: Where the messages were sent.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._lock = threading.Lock()
        self._lost = 0
        self._told_at = float("-inf")

    def report(self, error: KafkaError | None, message: Message) -> None:
        """Take the broker's answer; librdkafka calls it once per message."""
        del message
        if error is None:
            return
        with self._lock:
            self._lost += 1
            if time.monotonic() < self._told_at + _LOG_INTERVAL:
                return
            self._told_at = time.monotonic()
        logger.error(
            "topic %s: a message that nobody waits for was not delivered (number %d): %s",
            self._topic,
            self._lost,
            error.str(),
        )


class Deliveries:
    """What becomes of many messages. Thread-safe; keeps only what is under way or has failed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way: dict[int, str] = {}
        self._unpolled: dict[int, Producer] = {}
        self.failures: dict[int, FlowODMError] = {}

    def expect(self, index: int, topic: str, producer: Producer) -> Reported:
        """A message is about to be handed over.

        Args:
            index: Its number.
            topic: For the error's text.
            producer: What it is given to.

        Returns:
            Who is to be told.
        """
        if not get_kafka_connection().polls(producer):
            self._unpolled[id(producer)] = producer
        with self._changed:
            self._under_way[index] = topic
        return _OneOf(self, index)

    def fail(self, index: int, error: FlowODMError) -> None:
        """A message was not even handed over, or the broker refused it."""
        error.__traceback__ = None  # of thousands, each would keep its message alive
        with self._changed:
            self._under_way.pop(index, None)
            self.failures[index] = error
            self._changed.notify_all()

    def report(self, index: int, error: KafkaError | None) -> None:
        """The broker's answer. One that comes after the deadline changes nothing."""
        topic = self._under_way.get(index)
        if topic is None:
            return
        if error is not None:
            self.fail(index, undelivered(topic, error))
            return
        with self._changed:
            self._under_way.pop(index, None)
            if not self._under_way:
                self._changed.notify_all()

    def wait(self, deadline: float) -> None:
        """Until each is answered; what is not answered by then has failed.

        Args:
            deadline: On ``time.monotonic()``'s scale.
        """
        with self._changed:
            while self._under_way and not self._unpolled and time.monotonic() < deadline:
                self._changed.wait(max(0.0, deadline - time.monotonic()))
        while self._under_way and time.monotonic() < deadline:
            for producer in self._unpolled.values():
                producer.poll(_POLL_INTERVAL)
        for index, topic in tuple(self._under_way.items()):
            self.fail(index, ProducerError(f"topic {topic}: {UNCONFIRMED}"))


class _OneOf:
    """One of many messages."""

    __slots__ = ("_all", "_index")

    def __init__(self, deliveries: Deliveries, index: int) -> None:
        self._all = deliveries
        self._index = index

    def report(self, error: KafkaError | None, message: Message) -> None:
        del message
        self._all.report(self._index, error)


def check_may_wait() -> None:
    """Refuse to wait for a delivery in a delivery's callback: that would wait for itself.

    Raises:
        ProducerError: A callback is calling; nothing was sent.
    """
    if get_kafka_connection().in_callback():
        raise ProducerError(
            "a delivery callback cannot wait for another delivery: use produce_nowait() there"
        )


def enqueue(
    producer: Producer, delivery: Reported, message: dict[str, Any], deadline: float
) -> None:
    """Hand a message to librdkafka; where its queue is full, wait for room.

    Args:
        producer: A confluent_kafka producer.
        delivery: Who is told of the outcome.
        message: The arguments of ``Producer.produce``.
        deadline: On ``time.monotonic()``'s scale.

    Raises:
        ProducerError: librdkafka refuses the message, or the queue stays full.
    """
    while True:
        try:
            producer.produce(**message, on_delivery=delivery.report)
        except BufferError:
            # A callback that waits keeps the queue full: nobody else takes the broker's answers.
            if time.monotonic() >= deadline or get_kafka_connection().in_callback():
                raise ProducerError(
                    f"topic {message['topic']}: the local queue stays full; the broker takes "
                    "less than is produced (queue.buffering.max.messages and .kbytes)"
                ) from None
            _wait_for_room(producer)
        except Exception as error:
            raise refused(message["topic"], error) from error
        else:
            return


def _wait_for_room(producer: Producer) -> None:
    if get_kafka_connection().polls(producer):
        time.sleep(_POLL_INTERVAL)  # polling here would raise what other messages' callbacks raise
    else:
        producer.poll(_POLL_INTERVAL)


def refused(topic: str, error: Exception) -> ProducerError:
    """A message that was not even taken."""
    reason = error.args[0].str() if isinstance(error, KafkaException) else error
    return ProducerError(f"topic {topic}: not sent: {reason}")


def undelivered(topic: str, error: KafkaError) -> ProducerError:
    """The broker's refusal; its code, which tells callers what may help, is in the cause."""
    failure = ProducerError(f"topic {topic}: not delivered: {error.str()}")
    failure.__cause__ = KafkaException(error)
    return failure


def raise_failures(failures: Mapping[int, FlowODMError], number: int) -> None:
    """Say which of several messages failed.

    Args:
        failures: Their errors, by their number.
        number: How many messages there were.

    Raises:
        ProducerError: At least one failed.
    """
    if not failures:
        return
    listed = tuple(sorted(failures.items()))
    index, first = listed[0]
    text = f"{len(listed)} of {number} messages failed; the first, number {index}: {first}"
    raise ProducerError(text, failures=listed) from first


def milliseconds(timestamp: Any) -> int:
    """A record's timestamp as Kafka has it.

    Args:
        timestamp: Milliseconds since 1970, or a datetime; a naive one is taken as UTC.

    Raises:
        TypeError: It is neither.
        ValueError: It is not after 1970, which librdkafka would take for now.
    """
    if isinstance(timestamp, datetime):
        aware = timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
        timestamp = (aware - _EPOCH) // timedelta(milliseconds=1)
    if not isinstance(timestamp, int):
        raise TypeError(f"a timestamp is a datetime or milliseconds, not {timestamp!r}")
    if timestamp < 1:
        raise ValueError(f"a record's timestamp is after 1970, not {timestamp} ms")
    return timestamp
