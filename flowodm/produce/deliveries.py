"""Hand messages to the producer and wait for the broker's answer to each."""

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

_log = logging.getLogger(__name__)

QUEUE_TIMEOUT = 10.0
"""Seconds that produce_nowait waits for room in a full local queue."""

UNCONFIRMED = "the broker has not confirmed the message in time; it may still be delivered"
"""The error's text when a message is not acknowledged by its deadline."""

_POLL_INTERVAL = 0.01
"""Seconds of one poll, or of one wait for room in the local queue."""
_LOG_INTERVAL = 1.0
"""Seconds between two log lines about messages that nobody awaits."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DeliveryReport(Protocol):
    """Receives the broker's answer to a message."""

    def report(self, error: KafkaError | None, message: Message) -> None:
        """Receive the answer; librdkafka calls it once for each message."""


class Delivery:
    """The delivery of one message. Thread-safe.

    Args:
        topic: For the error's text.
        callback: Called with ``(error, message)`` from the thread that polls the producer, as
            confluent_kafka does.
    """

    def __init__(
        self, topic: str, callback: Callable[[KafkaError | None, Message], Any] | None = None
    ) -> None:
        self._topic = topic
        self._callback = callback
        self._done = threading.Event()
        self._error: KafkaError | None = None

    def report(self, error: KafkaError | None, message: Message) -> None:
        """Receive the broker's answer; librdkafka calls it once for each message."""
        self._error = error
        self._done.set()
        if self._callback is not None:
            self._callback(error, message)

    def is_answered(self, producer: Producer, deadline: float) -> bool:
        """Wait as :meth:`wait` does; tell whether the broker has answered."""
        if get_kafka_connection().polls(producer):
            self._done.wait(max(0.0, deadline - time.monotonic()))
        while not self._done.is_set() and time.monotonic() < deadline:
            producer.poll(_POLL_INTERVAL)  # a producer of the caller's own
        return self._done.is_set()

    def wait(self, producer: Producer, deadline: float) -> None:
        """Wait for this message only, not for the whole queue.

        Args:
            producer: The producer that has the message.
            deadline: In ``time.monotonic()``'s seconds.

        Raises:
            ProducerError: The broker refused the message, or has not acknowledged it by the
                deadline. In the latter case it may still be delivered: librdkafka keeps trying
                for ``message.timeout.ms``.
        """
        if not self.is_answered(producer, deadline):
            raise ProducerError(f"topic {self._topic}: {UNCONFIRMED}")
        if self._error is not None:
            raise undelivered(self._topic, self._error)


class UnawaitedDeliveries:
    """Logs the failed deliveries among the messages that no caller waits for. Thread-safe.

    It writes at most one line a second, with the number of failures so far.

    Args:
        topic: The topic of the messages.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._lock = threading.Lock()
        self._failures = 0
        self._logged_at = float("-inf")

    def report(self, error: KafkaError | None, message: Message) -> None:
        """Receive the broker's answer; librdkafka calls it once for each message."""
        del message
        if error is None:
            return
        with self._lock:
            self._failures += 1
            if time.monotonic() < self._logged_at + _LOG_INTERVAL:
                return
            self._logged_at = time.monotonic()
        _log.error(
            "topic %s: a message that no caller waits for was not delivered (%d so far): %s",
            self._topic,
            self._failures,
            error.str(),
        )


class Deliveries:
    """The deliveries of many messages. Thread-safe; delivered messages are not kept.

    Attributes:
        failures: The index of each failed message, with its error.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._in_flight: dict[int, str] = {}
        self._unpolled: dict[int, Producer] = {}
        self.failures: dict[int, FlowODMError] = {}

    def expect(self, index: int, topic: str, producer: Producer) -> DeliveryReport:
        """Expect the delivery of a message that is about to be handed over.

        Args:
            index: The message's index.
            topic: For the error's text.
            producer: The producer that gets the message.

        Returns:
            The receiver of the broker's answer.
        """
        if not get_kafka_connection().polls(producer):
            self._unpolled[id(producer)] = producer
        with self._changed:
            self._in_flight[index] = topic
        return _OneOf(self, index)

    def fail(self, index: int, error: FlowODMError) -> None:
        """Note that a message was not handed over, or that the broker refused it."""
        error.__traceback__ = None  # it would keep the message alive
        with self._changed:
            self._in_flight.pop(index, None)
            self.failures[index] = error
            self._changed.notify_all()

    def report(self, index: int, error: KafkaError | None) -> None:
        """Receive the broker's answer; one after the deadline changes nothing."""
        topic = self._in_flight.get(index)
        if topic is None:
            return
        if error is not None:
            self.fail(index, undelivered(topic, error))
            return
        with self._changed:
            self._in_flight.pop(index, None)
            if not self._in_flight:
                self._changed.notify_all()

    def wait(self, deadline: float) -> None:
        """Wait for the answers to all messages; those without one have failed.

        Args:
            deadline: In ``time.monotonic()``'s seconds.
        """
        with self._changed:
            while self._in_flight and not self._unpolled and time.monotonic() < deadline:
                self._changed.wait(max(0.0, deadline - time.monotonic()))
        while self._in_flight and time.monotonic() < deadline:
            for producer in self._unpolled.values():
                producer.poll(_POLL_INTERVAL)
        for index, topic in tuple(self._in_flight.items()):
            self.fail(index, ProducerError(f"topic {topic}: {UNCONFIRMED}"))


class _OneOf:
    """Receives the broker's answer to one of many messages."""

    __slots__ = ("_deliveries", "_index")

    def __init__(self, deliveries: Deliveries, index: int) -> None:
        self._deliveries = deliveries
        self._index = index

    def report(self, error: KafkaError | None, message: Message) -> None:
        del message
        self._deliveries.report(self._index, error)


def check_may_wait() -> None:
    """Refuse to wait for a delivery in a delivery callback, which serves all deliveries.

    Raises:
        ProducerError: The caller is a delivery callback; nothing was sent.
    """
    if get_kafka_connection().in_callback():
        raise ProducerError(
            "a delivery callback cannot wait for another delivery: use produce_nowait() there"
        )


def enqueue(
    producer: Producer, delivery: DeliveryReport, message: dict[str, Any], deadline: float
) -> None:
    """Hand a message to librdkafka; wait for room while its queue is full.

    Args:
        producer: A confluent_kafka producer.
        delivery: The receiver of the broker's answer.
        message: The arguments of ``Producer.produce``.
        deadline: In ``time.monotonic()``'s seconds.

    Raises:
        ProducerError: librdkafka refuses the message, or the queue stays full.
    """
    while True:
        try:
            producer.produce(**message, on_delivery=delivery.report)
        except BufferError:
            # A delivery callback must not wait: its thread empties the queue.
            if time.monotonic() >= deadline or get_kafka_connection().in_callback():
                raise ProducerError(
                    f"topic {message['topic']}: the local queue stays full: the broker is slower "
                    "than the producer (queue.buffering.max.messages and .kbytes)"
                ) from None
            _wait_for_room(producer)
        except Exception as error:
            raise refused(message["topic"], error) from error
        else:
            return


def _wait_for_room(producer: Producer) -> None:
    if get_kafka_connection().polls(producer):
        time.sleep(_POLL_INTERVAL)  # polling here would raise errors of other callbacks
    else:
        producer.poll(_POLL_INTERVAL)


def refused(topic: str, error: Exception) -> ProducerError:
    """Return the error of a message that librdkafka did not accept."""
    reason = error.args[0].str() if isinstance(error, KafkaException) else error
    return ProducerError(f"topic {topic}: not sent: {reason}")


def undelivered(topic: str, error: KafkaError) -> ProducerError:
    """Return the error of a message that the broker refused; its cause has Kafka's code."""
    failure = ProducerError(f"topic {topic}: not delivered: {error.str()}")
    failure.__cause__ = KafkaException(error)
    return failure


def raise_failures(failures: Mapping[int, FlowODMError], number: int) -> None:
    """Raise an error if some of many messages failed.

    Args:
        failures: The index of each failed message, with its error.
        number: The number of all messages.

    Raises:
        ProducerError: At least one message failed.
    """
    if not failures:
        return
    listed = tuple(sorted(failures.items()))
    index, first = listed[0]
    text = f"{len(listed)} of {number} messages failed; the first, at index {index}: {first}"
    raise ProducerError(text, failures=listed) from first


def milliseconds(timestamp: Any) -> int:
    """Return a record's timestamp in milliseconds since 1970.

    Args:
        timestamp: Milliseconds since 1970, or a datetime; a naive one counts as UTC.

    Raises:
        TypeError: The timestamp is neither.
        ValueError: The timestamp is before 1970, or 1970 itself, which means "now" to librdkafka.
    """
    if isinstance(timestamp, datetime):
        aware = timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
        timestamp = (aware - _EPOCH) // timedelta(milliseconds=1)
    if not isinstance(timestamp, int):
        raise TypeError(
            f"timestamp must be a datetime or milliseconds since 1970, got {timestamp!r}"
        )
    if timestamp < 1:
        raise ValueError(f"timestamp must be after 1970, got {timestamp} ms")
    return timestamp
