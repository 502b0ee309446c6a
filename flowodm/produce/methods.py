"""The methods of a model that send messages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from flowodm.connection import get_kafka_connection
from flowodm.exceptions import FlowODMError, ProducerError, SerializationError
from flowodm.model_settings import settings_of
from flowodm.produce.async_deliveries import Sending, confirm, hand_over, prepare, send_lock
from flowodm.produce.deliveries import (
    QUEUE_TIMEOUT,
    Deliveries,
    Delivery,
    UnawaitedDeliveries,
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

    from flowodm.produce.deliveries import DeliveryReport, Headers


class ProducingModel(BaseModel):
    """The producing half of :class:`flowodm.model.FlowBaseModel`."""

    @classmethod
    def get_producer(cls) -> Producer:
        """Return the producer of this class; override it to use another one.

        Raises:
            ConfigurationError: See :attr:`flowodm.connection.KafkaConnection.producer`.
        """
        return get_kafka_connection().producer

    @classmethod
    async def get_async_producer(cls) -> Any:
        """Return the producer of ``aproduce``; override it to use another one.

        By default it is that of :meth:`get_producer`, so that messages of ``produce`` and
        ``aproduce`` keep their order. It may be confluent_kafka's Producer or AIOProducer; the
        latter takes no headers.

        Raises:
            ConfigurationError: See :attr:`flowodm.connection.KafkaConnection.producer`.
        """
        default = ProducingModel.__dict__["get_producer"].__func__
        if getattr(cls.get_producer, "__func__", None) is default:  # a static method has none
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
        """Send this message and wait until the broker has acknowledged it.

        Args:
            callback: Called with ``(error, message)`` from another thread when the broker has
                answered. A number in its place is the time-out.
            timeout: Seconds to wait for the broker.
            key: The record's key, instead of the value of ``key_field``. Bytes are sent as they
                are; ``key_serializer`` writes anything else.
            headers: The record's headers: names to str or bytes.
            partition: The partition to write to; by default the key decides.
            timestamp: The record's time: milliseconds since 1970, or a datetime (a naive one
                counts as UTC). By default it is now.

        Raises:
            ProducerError: The message was not delivered, or not acknowledged in time; in the
                latter case it may still be delivered.
            SerializationError: A value does not fit its field.
            SchemaError: The schema cannot be registered; see its subclasses.
        """
        if isinstance(callback, int | float):
            timeout, callback = callback, None
        check_may_wait()
        record = _record(self, key, headers, partition=partition, timestamp=timestamp)
        producer, deadline = self.get_producer(), time.monotonic() + timeout
        delivery = Delivery(record["topic"], callback)
        enqueue(producer, delivery, record, deadline=deadline)
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
        """Hand this message to the producer and return; only ``callback`` learns the outcome.

        Without a callback, a message that was not delivered is logged. If the producer's local
        queue is full, this waits for room, for at most 10 seconds. The end of the process waits
        for messages in flight, for at most 10 seconds; see
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
        record = _record(self, key, headers, partition=partition, timestamp=timestamp)
        topic = record["topic"]
        delivery: DeliveryReport = (
            _unawaited(topic) if callback is None else Delivery(topic, callback)
        )
        deadline = time.monotonic() + QUEUE_TIMEOUT
        enqueue(self.get_producer(), delivery, record, deadline=deadline)

    @classmethod
    def produce_many(
        cls, messages: Iterable[ProducingModel], flush: bool = True, *, timeout: float = 60.0
    ) -> int:
        """Send many messages in as few requests to the broker as possible.

        A message that fails does not keep the others from being sent.

        Args:
            messages: The messages, in the order in which to send them.
            flush: Wait until the broker has acknowledged all of them. Without it, messages that
                were not delivered are only logged.
            timeout: Seconds to wait for all of them together.

        Returns:
            The number of messages that were sent.

        Raises:
            TypeError: One of the messages is not a message.
            ProducerError: Some messages were not delivered, or have a value that does not fit
                its field; ``failures`` lists each with its index and its error.
            SchemaError: The schema cannot be registered; see its subclasses. Messages in front
                of it may have been sent.
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
                delivery = deliveries.expect(index, topic, producer) if flush else _unawaited(topic)
                enqueue(producer, delivery, record, deadline=deadline)
            except (SerializationError, ProducerError) as error:
                deliveries.fail(index, error)
            except FlowODMError:
                deliveries.wait(deadline)  # for those in flight
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
        """Send this message and await the broker's answer, without blocking the event loop.

        If the task is cancelled meanwhile, the message may or may not be delivered.

        Args:
            timeout: Seconds to wait for the broker.
            key: See :meth:`produce`.
            headers: See :meth:`produce`.
            partition: See :meth:`produce`.
            timestamp: See :meth:`produce`.

        Raises:
            ProducerError: The message was not delivered, or not acknowledged in time; in the
                latter case it may still be delivered.
            SerializationError: A value does not fit its field.
            SchemaError: The schema cannot be registered; see its subclasses.
        """
        async with send_lock(settings_of(type(self)).topic):
            await _prepare_codecs(type(self))
            record = _record(self, key, headers, partition=partition, timestamp=timestamp)
            delivered = hand_over(await self.get_async_producer(), record)
        await confirm(delivered, record["topic"], time.monotonic() + timeout)

    @classmethod
    async def aproduce_many(
        cls,
        messages: Iterable[ProducingModel],
        *,
        timeout: float = 60.0,  # noqa: ASYNC109 - as in aproduce
    ) -> int:
        """Send many messages and await the broker's answers, without blocking the event loop.

        Args:
            messages: See :meth:`produce_many`.
            timeout: See :meth:`produce_many`.

        Returns:
            The number of messages that were sent.

        Raises:
            TypeError, ProducerError, SchemaError: See :meth:`produce_many`.
        """
        sending = Sending(time.monotonic() + timeout)
        try:
            for message in messages:
                try:
                    model = _model_of(message)
                    async with send_lock(settings_of(model).topic):
                        await _prepare_codecs(model)
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
    if not issubclass(model, ProducingModel):  # iterating over a single message gives its fields
        raise TypeError(
            f"messages must be a list or iterable of messages, got a {model.__name__} in it"
        )
    return model


def _record(
    message: Any,
    key: Any = None,
    headers: Headers | None = None,
    partition: int | None = None,
    timestamp: datetime | int | None = None,
) -> dict[str, Any]:
    """Return the arguments of a producer's ``produce`` for a message."""
    model = _model_of(message)
    settings = settings_of(model)
    if not isinstance(key, bytes):
        if key is None and settings.key_field is not None:
            key = getattr(message, settings.key_field)
        if key is not None:
            key = keys_by(model, settings).encode(key)
    record: dict[str, Any] = {
        "topic": settings.topic,
        "value": codec_by(model, settings).encode(message),
        "key": key,
    }
    if headers is not None:
        record["headers"] = headers
    if partition is not None:
        record["partition"] = partition
    if timestamp is not None:
        record["timestamp"] = milliseconds(timestamp)
    return record


async def _prepare_codecs(model: type[ProducingModel]) -> None:
    """Let the model's codecs ask the registry for what they need, in a thread."""
    settings = settings_of(model)
    codec = codec_by(model, settings)
    await prepare([codec, keys_by(model, settings)] if settings.key_field else [codec])


_unawaited_by_topic: dict[str, UnawaitedDeliveries] = {}


def _unawaited(topic: str) -> UnawaitedDeliveries:
    return _unawaited_by_topic.setdefault(topic, UnawaitedDeliveries(topic))
