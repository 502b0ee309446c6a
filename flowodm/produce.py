"""Handing messages to the producer and waiting for what the broker says to each."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from confluent_kafka import KafkaException

from flowodm.connection import get_kafka_connection
from flowodm.exceptions import ProducerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import KafkaError, Message, Producer

Headers: TypeAlias = Mapping[str, Any] | Sequence[tuple[str, Any]]

QUEUE_TIMEOUT = 10.0
"""Seconds that produce_nowait waits for room in a full local queue."""

_POLL_INTERVAL = 0.01


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
            raise ProducerError(
                f"topic {self._topic}: the broker has not confirmed the message in time; "
                "it may still be delivered"
            )
        if self._error is not None:
            reason = KafkaException(self._error)  # its code tells callers what may help
            raise ProducerError(
                f"topic {self._topic}: not delivered: {self._error.str()}"
            ) from reason


def enqueue(
    producer: Producer, delivery: Delivery, message: dict[str, Any], deadline: float
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
            if time.monotonic() >= deadline:
                raise ProducerError(
                    f"topic {message['topic']}: the local queue stays full; the broker takes "
                    "less than is produced (queue.buffering.max.messages and .kbytes)"
                ) from None
            producer.poll(_POLL_INTERVAL)
        except Exception as error:
            raise ProducerError(f"topic {message['topic']}: {error}") from error
        else:
            return


def key_bytes(value: Any) -> bytes | None:
    """A record's key from a field's value: text as UTF-8, bytes as they are, None as none."""
    if value is None or isinstance(value, bytes):
        return value
    return str(value.value if isinstance(value, Enum) else value).encode()
