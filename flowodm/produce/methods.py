"""How a message is sent: the producing half of FlowBaseModel."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from flowodm.connection import get_kafka_connection
from flowodm.exceptions import FlowODMError, ProducerError, SerializationError
from flowodm.model_settings import settings_of
from flowodm.produce.async_deliveries import Sending, hand_over, outcome, prepare, turn
from flowodm.produce.deliveries import (
    QUEUE_TIMEOUT,
    Deliveries,
    Delivery,
    Unheard,
    check_may_wait,
    enqueue,
    milliseconds,
    raise_failures,
)
from flowodm.serialization.codecs import codec_by
from flowodm.serialization.keys import keys_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from confluent_kafka import KafkaError, Message, Producer

    from flowodm.produce.deliveries import Headers, Reported


class ProducingModel(BaseModel):
    """The producing half of :class:`flowodm.model.FlowBaseModel`."""

    @classmethod
    def get_producer(cls) -> Producer:
        """The producer that this class uses; override it to use another.

        Raises:
            ConfigurationError: See :attr:`flowodm.connection.KafkaConnection.producer`.
        """
        return get_kafka_connection().producer

    @classmethod
    async def get_async_producer(cls) -> Any:
        """The producer that ``aproduce`` uses; override it to use another.

        By default it is that of :meth:`get_producer`, so that a message sent with ``produce``
        and one sent with ``aproduce`` keep their order. It may be confluent_kafka's Producer or
        AIOProducer; the latter takes no headers.

        Raises:
            ConfigurationError: See :attr:`flowodm.connection.KafkaConnection.producer`.
        """
        usual = ProducingModel.__dict__["get_producer"].__func__
        if getattr(cls.get_producer, "__func__", None) is usual:  # a static method has none
            return await get_kafka_connection().get_async_producer()
        return cls.get_producer()

    def produce(
        self,
        callback: Callable[[KafkaError | None, Message], Any] | float | None = None,
        timeout: float = 10.0,
        *,
        key: Any = None,
        headers: Headers | None = None,
        partition: int | None = None,
        timestamp: datetime | int | None = None,
    ) -> None:
        """Send this message and wait until the broker has it.

        Args:
            callback: Called with ``(error, message)`` when the broker has answered, from
                another thread. A number in its place is the time-out.
            timeout: Seconds to wait for the broker.
            key: The record's key, instead of the value of ``key_field``. Bytes are taken as
                they are, anything else is written by ``key_serializer``.
            headers: The record's headers: names to str or bytes.
            partition: Where to write it; by default the key decides.
            timestamp: The record's time: milliseconds since 1970, or a datetime (a naive one is
                taken as UTC). By default it is now.

        Raises:
            ProducerError: It was not delivered, or not confirmed in time; in the latter case it
                may still be delivered.
            SerializationError: A value does not fit its field.
            SchemaError: The schema cannot be registered; see its subclasses.
        """
        if isinstance(callback, int | float):
            timeout, callback = callback, None
        check_may_wait()
        record = _record(self, key, headers, partition, timestamp)
        producer, deadline = self.get_producer(), time.monotonic() + timeout
        delivery = Delivery(record["topic"], callback)
        enqueue(producer, delivery, record, deadline)
        delivery.wait(producer, deadline)

    def produce_nowait(
        self,
        callback: Callable[[KafkaError | None, Message], Any] | None = None,
        *,
        key: Any = None,
        headers: Headers | None = None,
        partition: int | None = None,
        timestamp: datetime | int | None = None,
    ) -> None:
        """Hand this message to the producer and go on; only ``callback`` learns the outcome.

        Without a callback, the log tells of a message that was not delivered. Waits for room if
        the producer's local queue is full, at most ten seconds. What is on its way when the
        program ends is waited for, at most ten seconds; see
        :meth:`flowodm.connection.KafkaConnection.close_connection`.

        Args:
            callback: See :meth:`produce`.
            key: See :meth:`produce`.
            headers: See :meth:`produce`.
            partition: See :meth:`produce`.
            timestamp: See :meth:`produce`.

        Raises:
            ProducerError: The queue stays full, or librdkafka refuses the message.
            SerializationError: A value does not fit its field.
            SchemaError: The schema cannot be registered; see its subclasses.
        """
        record = _record(self, key, headers, partition, timestamp)
        topic = record["topic"]
        told: Reported = _unheard(topic) if callback is None else Delivery(topic, callback)
        enqueue(self.get_producer(), told, record, time.monotonic() + QUEUE_TIMEOUT)

    @classmethod
    def produce_many(
        cls, messages: Iterable[ProducingModel], flush: bool = True, *, timeout: float = 60.0
    ) -> int:
        """Send many messages, which share their way to the broker.

        Each is tried, whatever becomes of the others.

        Args:
            messages: In the order in which they are to be sent.
            flush: Wait until the broker has them all; else only the log tells of those that
                were not delivered.
            timeout: Seconds to wait for all together.

        Returns:
            How many were sent.

        Raises:
            TypeError: There is something else among the messages.
            ProducerError: Some were not delivered, or do not fit their fields; its ``failures``
                list each with its place and its error.
            SchemaError: The schema cannot be registered; see its subclasses. What came before
                may have been sent.
        """
        if flush:
            check_may_wait()
        deliveries, number = Deliveries(), 0
        deadline = time.monotonic() + timeout
        for index, message in enumerate(messages):
            number = index + 1
            try:
                record = _record(message)
                topic, producer = record["topic"], message.get_producer()
                told = deliveries.expect(index, topic, producer) if flush else _unheard(topic)
                enqueue(producer, told, record, deadline)
            except (SerializationError, ProducerError) as error:
                deliveries.fail(index, error)
            except FlowODMError:
                deliveries.wait(deadline)  # the others are on their way
                raise
        deliveries.wait(deadline)
        raise_failures(deliveries.failures, number)
        return number

    async def aproduce(
        self,
        timeout: float = 10.0,  # noqa: ASYNC109 - its end is a ProducerError
        *,
        key: Any = None,
        headers: Headers | None = None,
        partition: int | None = None,
        timestamp: datetime | int | None = None,
    ) -> None:
        """Send this message and await the broker's answer; nothing blocks the event loop.

        A task that is cancelled meanwhile leaves open whether the message is delivered.

        Args:
            timeout: Seconds to wait for the broker.
            key: See :meth:`produce`.
            headers: See :meth:`produce`.
            partition: See :meth:`produce`.
            timestamp: See :meth:`produce`.

        Raises:
            ProducerError: It was not delivered, or not confirmed in time; in the latter case it
                may still be delivered.
            SerializationError: A value does not fit its field.
            SchemaError: The schema cannot be registered; see its subclasses.
        """
        async with turn(settings_of(type(self)).topic):
            await _prepare(type(self))
            record = _record(self, key, headers, partition, timestamp)
            delivered = hand_over(await self.get_async_producer(), record)
        await outcome(delivered, record["topic"], time.monotonic() + timeout)

    @classmethod
    async def aproduce_many(
        cls,
        messages: Iterable[ProducingModel],
        *,
        timeout: float = 60.0,  # noqa: ASYNC109 - as in aproduce
    ) -> int:
        """Send many messages and await the broker's answers; nothing blocks the event loop.

        Args:
            messages: See :meth:`produce_many`.
            timeout: See :meth:`produce_many`.

        Returns:
            How many were sent.

        Raises:
            TypeError, ProducerError, SchemaError: See :meth:`produce_many`.
        """
        sending = Sending(time.monotonic() + timeout)
        try:
            for message in messages:
                try:
                    model = _model_of(message)
                    async with turn(settings_of(model).topic):
                        await _prepare(model)
                        record = _record(message)
                        sending.add(await message.get_async_producer(), record)
                    await sending.keep_up()
                except (SerializationError, ProducerError) as error:
                    sending.fail(error)
            await sending.finish()
        finally:
            sending.abandon()
        raise_failures(sending.failures, sending.number)
        return sending.number


def _model_of(message: Any) -> type[ProducingModel]:
    model = type(message)
    if not issubclass(model, ProducingModel):  # such as the fields of a lone message
        raise TypeError(f"give messages to send, as a list or so: {model.__name__} is none")
    return model


def _record(
    message: Any,
    key: Any = None,
    headers: Headers | None = None,
    partition: int | None = None,
    timestamp: datetime | int | None = None,
) -> dict[str, Any]:
    """The arguments of a producer's ``produce``."""
    model = _model_of(message)
    own = settings_of(model)
    if not isinstance(key, bytes):
        if key is None and own.key_field is not None:
            key = getattr(message, own.key_field)
        if key is not None:
            key = keys_by(model, own).encode(key)
    record: dict[str, Any] = {
        "topic": own.topic,
        "value": codec_by(model, own).encode(message),
        "key": key,
    }
    if headers is not None:
        record["headers"] = headers
    if partition is not None:
        record["partition"] = partition
    if timestamp is not None:
        record["timestamp"] = milliseconds(timestamp)
    return record


async def _prepare(model: type[ProducingModel]) -> None:
    own = settings_of(model)
    codec = codec_by(model, own)
    await prepare([codec, keys_by(model, own)] if own.key_field else [codec])


_unheard_by_topic: dict[str, Unheard] = {}


def _unheard(topic: str) -> Unheard:
    return _unheard_by_topic.setdefault(topic, Unheard(topic))
