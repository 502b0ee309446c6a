"""Check that a message can be written and read back unchanged."""

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
    """Write a message as ``produce()`` does, read it, and compare values and their types.

    It asks no broker and no registry: Avro values are bare, without a schema id. Within an
    InMemoryKafka that has a registry, they are framed with that registry's ids.

    Args:
        message: The message.

    Returns:
        The written bytes.

    Raises:
        AssertionError: The message that was read differs; the text lists the differences.
        SchemaValidationError: The model has no schema.
        SerializationError: A value does not fit its field.
        DeserializationError: The written bytes cannot be read.
    """
    is_replaced = get_kafka_connection().stand_in is not None
    with nullcontext() if is_replaced else InMemoryKafka():
        codec = codec_for(type(message))
        data = codec.encode(message)
        try:
            received = codec.decode(data)
        except SchemaNotLoadedError as missing:
            codec.load_schema(missing.schema_id)
            received = codec.decode(data)
    differences = list(_differences(type(message).__name__, message, received))
    if differences:
        raise AssertionError(
            "the message differs after writing and reading: " + "; ".join(differences[:5])
        )
    return data


def _differences(place: str, sent: Any, received: Any) -> Iterator[str]:
    """Yield where two values differ, in their types or in what they hold."""
    if type(sent) is not type(received):
        yield f"{place}: {sent!r} ({_kind(sent)}) is {received!r} ({_kind(received)})"
        return
    parts = _parts(place, sent, received)
    if parts is not None:
        for part in parts:
            yield from _differences(*part)
    elif not _is_equal(sent, received):
        yield f"{place}: {sent!r} is {received!r}"


def _parts(place: str, sent: Any, received: Any) -> list[tuple[str, Any, Any]] | None:
    """Return the parts of two containers of the same shape, with their places; None if not."""
    if isinstance(sent, BaseModel):
        names = type(sent).model_fields
        return [(f"{place}.{name}", getattr(sent, name), getattr(received, name)) for name in names]
    if isinstance(sent, dict) and sent.keys() == received.keys():
        return [(f"{place}[{key!r}]", value, received[key]) for key, value in sent.items()]
    if isinstance(sent, list | tuple) and len(sent) == len(received):
        pairs = zip(sent, received, strict=True)
        return [(f"{place}[{index}]", *pair) for index, pair in enumerate(pairs)]
    return None


def _is_equal(sent: Any, received: Any) -> bool:
    if isinstance(sent, float) and math.isnan(sent):
        return math.isnan(received)
    return bool(sent == received)


def _kind(value: object) -> str:
    return type(value).__name__
