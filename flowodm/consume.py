"""Taking single records without a loop."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from pydantic import BaseModel

from flowodm.avro.codec import SchemaNotLoadedError
from flowodm.exceptions import ConsumerError, DeserializationError, FlowODMError, TopicError

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

    from flowodm.codecs import ValueCodec

M = TypeVar("M", bound=BaseModel)

# librdkafka goes on by itself after these.
_PASSING = frozenset(
    {
        KafkaError._PARTITION_EOF,  # noqa: SLF001 - the constant's public name
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001 - the same
    }
)
_TOPIC_ERRORS = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED})


def take_one(consumer: Consumer, codec: ValueCodec[M], timeout: float) -> M | None:
    """The next message, committed; None if there is none within ``timeout`` seconds.

    A tombstone is passed over. A record that cannot be read is passed over too, once it was
    raised: it is not committed by itself, but by the next message of its partition.

    Raises:
        DeserializationError: The next record is no message of the model; says where it is.
        RegistryUnavailableError, SchemaRegistryError: Its schema cannot be had. The same record
            comes next.
        TopicError: The topic does not exist, or may not be read.
        ConsumerError: The consumer cannot go on, or the commit failed. In the latter case the
            same record comes next.
    """
    deadline = time.monotonic() + timeout
    while True:
        record = consumer.poll(max(0.0, deadline - time.monotonic()))
        if record is not None:
            error, value = record.error(), record.value()
            if error is not None:
                _raise_unless_passing(error, record.topic())
            elif value is not None:
                return _settled(consumer, codec, record, value)
        if time.monotonic() >= deadline:
            return None


def _settled(consumer: Consumer, codec: ValueCodec[M], record: Message, value: bytes) -> M:
    try:
        message = _decoded(codec, value)
        _commit(consumer, record)
    except DeserializationError as error:
        error.topic = record.topic()
        error.partition = record.partition()
        error.offset = record.offset()
        raise
    except FlowODMError:
        # Not to be lost: it comes again. If its partition was taken away meanwhile, there is
        # nowhere to seek, and whoever has it now begins at the last commit.
        with suppress(KafkaException):
            consumer.seek(_place(record))
        raise
    return message


def _decoded(codec: ValueCodec[M], data: bytes) -> M:
    try:
        return codec.decode(data)
    except SchemaNotLoadedError as missing:
        codec.load_schema(missing.schema_id)
    return codec.decode(data)


def _commit(consumer: Consumer, record: Message) -> None:
    place = _place(record, 1)
    try:
        answers = consumer.commit(offsets=[place], asynchronous=False)
    except KafkaException as error:
        raise ConsumerError(f"{_shown(record)}: not committed: {error.args[0].str()}") from error
    for answer in answers or ():
        if answer.error is not None:
            raise ConsumerError(f"{_shown(record)}: not committed: {answer.error.str()}")


def _raise_unless_passing(error: KafkaError, topic: str | None) -> None:
    if error.code() in _PASSING or (error.retriable() and not error.fatal()):
        return
    if error.code() in _TOPIC_ERRORS:
        raise TopicError(f"topic {topic}: {error.str()}")
    raise ConsumerError(error.str())


def _place(record: Message, ahead: int = 0) -> TopicPartition:
    place: Any = (record.topic(), record.partition(), record.offset())  # all known in a record
    topic, partition, offset = place
    return TopicPartition(topic, partition, offset + ahead)


def _shown(record: Message) -> str:
    return f"topic {record.topic()}, partition {record.partition()}, offset {record.offset()}"
