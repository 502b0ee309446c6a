"""The dead-letter topic: a record goes there for good when the broker has said so."""

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

#: Seconds in which the broker has to acknowledge a dead letter.
SEND_TIMEOUT = 60.0
#: Seconds for the answer to one question about a topic.
ANSWER_TIMEOUT = 5.0
#: Seconds for which a topic that does not exist is asked for again: brokers learn of a new one one
#: after the other, and one that creates topics by itself says no to the first question.
NEW_TOPIC_PATIENCE = 2.0
_POLL_INTERVAL = 0.1

_NOT_YET = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE}


class LoopEndedError(ProducerError):
    """The loop's time was over before the broker has said anything about a dead letter."""


class DeadLetterTopic:
    """Takes the records that a loop gives up. Thread-safe; uses the process's producer.

    Args:
        topic: Where they go. The partition follows from the key, as for any other record.
        group: The loop's consumer group, for the dead letters' headers.
        last_moment: When the loop has to end, in monotonic seconds, as far as that is known now;
            asked again and again while a dead letter is under way.
    """

    def __init__(
        self, topic: str, group: str, last_moment: Callable[[], float] = lambda: math.inf
    ) -> None:
        self.topic = topic
        self._group = group
        self._last_moment = last_moment

    def check(self, source_topic: str) -> None:
        """Find out before the first failure that the topic is wrong. Blocks, for some seconds.

        A broker that does not answer now says nothing about the topic, so that is only logged.

        Raises:
            ConfigurationError: The topic does not exist, may not be used, or is the one that the
                loop consumes; or there is no producer to be had.
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
        """Put a copy of the record there: original bytes, key and headers, and why it failed.

        Blocks until the broker has acknowledged it, for SEND_TIMEOUT seconds at most. Errors that
        may pass are tried again by librdkafka meanwhile. Its timestamp is the present one, so
        that the topic's retention counts from the failure.

        Raises:
            LoopEndedError: It was not acknowledged before the loop's last moment.
            ProducerError: It was not acknowledged. It may be there nevertheless.
            ConfigurationError: There is no producer to be had.
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
            self._deliver_briefly(record, error, deadline, place)

    def _deliver_briefly(
        self, record: Message, error: BaseException, deadline: float, place: str
    ) -> None:
        try:
            self._deliver(record, error, deadline, brief=True)
        except LoopEndedError:
            raise
        except ProducerError as refused:
            way_out = (
                f"; even without its stack trace it is too large: raise max.message.bytes of "
                f"{self.topic} above that of {record.topic()}, and the producer's "
                'message.max.bytes (connect(producer_config={"message.max.bytes": ...}))'
            )
            hint = way_out if too_large(refused) else ""
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
            if now >= self._last_moment():
                raise LoopEndedError(f"topic {self.topic}: not confirmed before the loop ends")
            if now >= deadline:
                break
        delivery.wait(producer, deadline)


def partitions_of(client: Any, topic: str) -> list[int]:
    """A topic's partitions, as a broker knows them.

    Raises:
        TopicError: The topic does not exist, or may not be used.
        KafkaException: No broker answers.
    """
    deadline = time.monotonic() + NEW_TOPIC_PATIENCE
    while True:
        found = client.list_topics(topic, timeout=ANSWER_TIMEOUT).topics[topic]
        if found.error is None:
            return sorted(found.partitions)
        if found.error.code() not in _NOT_YET or time.monotonic() >= deadline:
            raise TopicError(f"topic {topic}: {found.error.str()}")
        time.sleep(_POLL_INTERVAL)


def too_large(error: ProducerError) -> bool:
    """Whether a record was refused for its size, or for that of the batch it was sent in."""
    cause = error.__cause__
    return (
        isinstance(cause, KafkaException) and cause.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    )
