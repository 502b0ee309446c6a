"""Sends records to the dead-letter topic, and waits for the broker's acknowledgement."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException

from flowodm.connection import get_kafka_connection
from flowodm.consumer.dead_letters.headers import letter_headers
from flowodm.exceptions import ConfigurationError, ProducerError, TopicError, summary
from flowodm.produce.deliveries import Delivery, enqueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Message

_log = logging.getLogger("flowodm.consumer")

SEND_TIMEOUT = 60.0
"""Seconds in which the broker has to acknowledge a dead letter."""

ANSWER_TIMEOUT = 5.0
"""Seconds for the answer to one question about a topic."""

NEW_TOPIC_PATIENCE = 2.0
"""Seconds for which a topic that does not exist is asked for again.

Brokers learn of a new topic one after the other, and a broker that creates topics by itself
answers the first question with an error.
"""

_POLL_INTERVAL = 0.1
"""Seconds between two looks whether a dead letter is acknowledged, or a topic exists."""

_NOT_YET = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE}
"""Errors of a topic that may be about to exist."""


class LoopEndedError(ProducerError):
    """The drain deadline has passed before the broker has answered for a dead letter."""


class DeadLetterTopic:
    """Takes the records that a loop gives up. Thread-safe; uses the process's producer.

    Args:
        topic: The topic. The partition follows from the key, as for any other record.
        group: The loop's consumer group, for the dead letters' headers.
        deadline: Returns when the loop has to end, in monotonic seconds; infinite before a stop.
            It is called again and again while a dead letter is in flight.
    """

    def __init__(
        self, topic: str, group: str, deadline: Callable[[], float] = lambda: math.inf
    ) -> None:
        self.topic = topic
        self._group = group
        self._loop_deadline = deadline

    def check(self, source_topic: str) -> None:
        """Make sure before the first failure that the topic can be used. Blocks, for some seconds.

        A broker that does not answer is only logged: that says nothing about the topic.

        Args:
            source_topic: The topic that the loop consumes.

        Raises:
            ConfigurationError: The topic does not exist, may not be used, or is the one that the
                loop consumes; or the producer cannot be created.
        """
        if self.topic == source_topic:
            raise ConfigurationError(
                f"dead_letter_topic is {self.topic!r}, the topic that is consumed: each dead "
                f"letter would be consumed again; use another one, such as {self.topic}.DLT"
            )
        producer = get_kafka_connection().producer
        try:
            partitions_of(producer, self.topic)
        except TopicError as error:
            raise ConfigurationError(
                f"dead_letter_topic {self.topic!r} cannot be used: create it before the loop "
                f"starts, and allow this client to write to it ({error})"
            ) from error
        except KafkaException as error:
            _log.warning("dead-letter topic %s is not checked: %s", self.topic, summary(error))

    def send(self, record: Message, error: BaseException) -> None:
        """Send a copy of a record: original bytes, key and headers, and why it failed.

        Blocks until the broker has acknowledged it, for SEND_TIMEOUT seconds at most; meanwhile
        librdkafka tries again after errors that may pass. The copy's timestamp is the present one,
        so that the topic's retention counts from the failure.

        Args:
            record: The record that failed.
            error: Its last failure.

        Raises:
            LoopEndedError: It was not acknowledged before the drain deadline.
            ProducerError: It was not acknowledged. The topic may hold it all the same.
            ConfigurationError: The producer cannot be created.
        """
        deadline = time.monotonic() + SEND_TIMEOUT
        place = f"topic {record.topic()}, partition {record.partition()}, offset {record.offset()}"
        try:
            self._deliver(record, error, deadline, brief=False)
        except LoopEndedError:
            raise
        except ProducerError as refused:
            if not too_large(refused):
                raise ProducerError(f"dead letter of {place}: {refused}") from refused
            self._deliver_briefly(record, error, deadline, place=place)

    def _deliver_briefly(
        self, record: Message, error: BaseException, deadline: float, place: str
    ) -> None:
        try:
            self._deliver(record, error, deadline, brief=True)
        except LoopEndedError:
            raise
        except ProducerError as refused:
            hint = ""
            if too_large(refused):
                hint = (
                    f"; even without its stack trace it is too large: raise max.message.bytes of "
                    f"{self.topic} above that of {record.topic()}, and the producer's "
                    'message.max.bytes (connect(producer_config={"message.max.bytes": ...}))'
                )
            raise ProducerError(f"dead letter of {place}: {refused}{hint}") from refused

    def _deliver(
        self, record: Message, error: BaseException, deadline: float, *, brief: bool
    ) -> None:
        producer, delivery = get_kafka_connection().producer, Delivery(self.topic)
        headers = letter_headers(record, error, self._group, brief=brief)
        content = {"key": record.key(), "value": record.value(), "headers": list(headers)}
        enqueue(producer, delivery, {"topic": self.topic, **content}, deadline)
        while not delivery.is_answered(producer, time.monotonic() + _POLL_INTERVAL):
            now = time.monotonic()
            if now >= self._loop_deadline():
                raise LoopEndedError(f"topic {self.topic}: not confirmed before the loop ends")
            if now >= deadline:
                break
        delivery.wait(producer, deadline)


def partitions_of(client: Any, topic: str) -> list[int]:
    """Ask a broker for the numbers of a topic's partitions.

    Args:
        client: A consumer or a producer.
        topic: The topic.

    Raises:
        TopicError: The topic does not exist, or may not be used.
        KafkaException: No broker answers.
    """
    deadline = time.monotonic() + NEW_TOPIC_PATIENCE
    while True:
        metadata = client.list_topics(topic, timeout=ANSWER_TIMEOUT).topics[topic]
        if metadata.error is None:
            return sorted(metadata.partitions)
        if metadata.error.code() not in _NOT_YET or time.monotonic() >= deadline:
            raise TopicError(f"topic {topic}: {metadata.error.str()}")
        time.sleep(_POLL_INTERVAL)


def too_large(error: ProducerError) -> bool:
    """Return whether a record was refused for its size, or for that of its batch."""
    cause = error.__cause__
    return (
        isinstance(cause, KafkaException) and cause.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    )
