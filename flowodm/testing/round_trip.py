"""Whether messages come back as they went."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from flowodm.avro.codec import SchemaNotLoadedError
from flowodm.connection import get_kafka_connection
from flowodm.serialization.codecs import codec_for
from flowodm.testing.memory.kafka import InMemoryKafka

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowodm.model import FlowBaseModel


def assert_round_trip(message: FlowBaseModel) -> bytes:
    """Write a message as ``produce()`` would, read it, and compare: values, and their types.

    No broker and no registry is asked: Avro values are bare, without a schema id. Within an
    InMemoryKafka that has a registry, they are framed with that one's ids.

    Args:
        message: The message.

    Returns:
        The bytes.

    Raises:
        AssertionError: It comes back different; says where, and how.
        SchemaValidationError: The model has no schema.
        SerializationError: A value does not fit its field.
        DeserializationError: What was written cannot be read.
    """
    entered = get_kafka_connection().stand_in is not None
    with nullcontext() if entered else InMemoryKafka():
        codec = codec_for(type(message))
        data = codec.encode(message)
        try:
            back = codec.decode(data)
        except SchemaNotLoadedError as missing:  # with a registry, as any reader
            codec.load_schema(missing.schema_id)
            back = codec.decode(data)
    _compare(type(message).__name__, message, back)
    return data


def _compare(place: str, sent: object, back: object) -> None:
    differences = list(_differences(place, sent, back))
    if differences:
        raise AssertionError("it comes back different: " + "; ".join(differences[:5]))


def _differences(place: str, sent: Any, back: Any) -> Iterator[str]:
    """Where two values differ: in their type, or in what they hold."""
    if type(sent) is not type(back):
        yield f"{place}: {sent!r} ({_kind(sent)}) is {back!r} ({_kind(back)})"
    elif isinstance(sent, BaseModel):
        for name in type(sent).model_fields:
            yield from _differences(f"{place}.{name}", getattr(sent, name), getattr(back, name))
    elif isinstance(sent, dict) and sent.keys() == back.keys():
        for key, value in sent.items():
            yield from _differences(f"{place}[{key!r}]", value, back[key])
    elif isinstance(sent, list | tuple) and len(sent) == len(back):
        for index, value in enumerate(sent):
            yield from _differences(f"{place}[{index}]", value, back[index])
    elif sent != back and not (isinstance(sent, float) and math.isnan(sent) and math.isnan(back)):
        yield f"{place}: {sent!r} is {back!r}"


def _kind(value: object) -> str:
    return type(value).__name__
