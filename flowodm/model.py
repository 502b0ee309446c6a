"""Kafka messages as Pydantic models."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict

from flowodm.avro.codec import codec_for
from flowodm.connection import get_kafka_connection
from flowodm.exceptions import ProducerError
from flowodm.model_consumes import ConsumingModel
from flowodm.model_settings import ModelSettings, settings_of
from flowodm.produce import QUEUE_TIMEOUT, Delivery, enqueue, key_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from confluent_kafka import KafkaError, Message, Producer

    from flowodm.produce import Headers

__all__ = ["FlowBaseModel", "ModelSettings", "settings_of"]


class FlowBaseModel(ConsumingModel):
    """A message of a topic: a Pydantic model that can be produced and consumed.

    ::

        class OrderEvent(FlowBaseModel):
            class Settings:
                topic = "orders"
                consumer_group = "order-processor"
                key_field = "order_id"

            order_id: str
            amount: float

    The inner ``Settings`` may hold every attribute of
    :class:`~flowodm.model_settings.ModelSettings`; what it leaves out, the Settings of base
    classes say.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    Settings: ClassVar[type]

    @classmethod
    def get_producer(cls) -> Producer:
        """The producer that this class uses; override it to use another.

        Raises:
            ConfigurationError: See :attr:`flowodm.connection.KafkaConnection.producer`.
        """
        return get_kafka_connection().producer

    def produce(
        self,
        callback: Callable[[KafkaError | None, Message], Any] | None = None,
        timeout: float = 10.0,
        *,
        key: str | bytes | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Send this message and wait until the broker has it.

        Args:
            callback: Called with ``(error, message)`` when the broker has answered, from
                another thread.
            timeout: Seconds to wait for the answer.
            key: The record's key, instead of the value of ``key_field``.
            headers: The record's headers: names to str or bytes.

        Raises:
            ProducerError: It was not delivered, or not confirmed in time; in the latter case it
                may still be delivered.
            SerializationError: A value does not fit its field.
            SchemaError: The schema cannot be registered; see its subclasses.
        """
        deadline = time.monotonic() + timeout
        producer, delivery = _send(self, deadline, callback, key, headers)
        delivery.wait(producer, deadline)

    def produce_nowait(
        self,
        callback: Callable[[KafkaError | None, Message], Any] | None = None,
        *,
        key: str | bytes | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Hand this message to the producer and go on; only ``callback`` learns the outcome.

        Waits for room if the producer's local queue is full, at most ten seconds.

        Raises:
            ProducerError: The queue stays full, or librdkafka refuses the message.
            SerializationError: A value does not fit its field.
            SchemaError: The schema cannot be registered; see its subclasses.
        """
        _send(self, time.monotonic() + QUEUE_TIMEOUT, callback, key, headers)

    @classmethod
    def produce_many(
        cls, messages: Iterable[FlowBaseModel], flush: bool = True, *, timeout: float = 60.0
    ) -> int:
        """Send many messages, which share their way to the broker.

        Args:
            messages: In the order in which they are to be sent.
            flush: Wait until the broker has them all; else nobody learns what became of them.
            timeout: Seconds to wait for all together.

        Returns:
            How many were sent.

        Raises:
            ProducerError: At least one was not delivered; says how many, and why the first.
        """
        deadline = time.monotonic() + timeout
        sent = [_send(message, deadline) for message in messages]
        failures = []
        for producer, delivery in sent if flush else ():
            try:
                delivery.wait(producer, deadline)
            except ProducerError as error:
                failures.append(error)
        if failures:
            text = f"{len(failures)} of {len(sent)} messages failed; the first: {failures[0]}"
            raise ProducerError(text) from failures[0]
        return len(sent)

    @classmethod
    def register_schema(cls) -> int:
        """Register the schema that this class writes with; returns its id.

        Raises:
            ConfigurationError: No registry is configured.
            SchemaCompatibilityError: The subject does not accept the schema.
            RegistryUnavailableError, SchemaRegistryError: The registry does not answer, or
                refuses.
        """
        return codec_for(cls).register()

    def to_avro_dict(self) -> dict[str, Any]:
        """This message as Avro holds it: datetimes aware and in UTC, enums as their symbols.

        Raises:
            SerializationError: A value does not fit its field.
        """
        return codec_for(type(self)).to_dict(self)


def _send(
    model: FlowBaseModel,
    deadline: float,
    callback: Callable[[KafkaError | None, Message], Any] | None = None,
    key: str | bytes | None = None,
    headers: Headers | None = None,
) -> tuple[Producer, Delivery]:
    own = settings_of(type(model))
    if key is None and own.key_field is not None:
        key = getattr(model, own.key_field)
    message: dict[str, Any] = {
        "topic": own.topic,
        "value": codec_for(type(model)).encode(model),
        "key": key_bytes(key),
    }
    if headers is not None:
        message["headers"] = headers
    producer = model.get_producer()
    delivery = Delivery(own.topic, callback)
    enqueue(producer, delivery, message, deadline)
    return producer, delivery
