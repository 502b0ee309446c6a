"""Bytes are interchangeable with those of Confluent's serializers, Avro and JSON, both ways."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from pydantic import BaseModel

from flowodm import FlowBaseModel, connect
from flowodm.avro import wire
from flowodm.exceptions import DeserializationError
from flowodm.serialization.codecs import codec_for

if TYPE_CHECKING:
    from collections.abc import Iterator

AT = datetime(2026, 3, 1, 12, 30, 15, 123_456, tzinfo=UTC)


class Colour(Enum):
    RED = "RED"
    BLUE = "BLUE"


class Line(BaseModel):
    sku: str
    count: int = 1


class Order(FlowBaseModel):
    class Settings:
        topic = ""

    order_id: str
    amount: float
    at: datetime
    colour: Colour = Colour.RED
    note: str | None = None
    lines: list[Line]
    counts: dict[str, int]
    data: bytes = b""


ORDER = Order(
    order_id="o-1",
    amount=2.5,
    at=AT,
    colour=Colour.BLUE,
    note="n",
    lines=[Line(sku="a"), Line(sku="b", count=3)],
    counts={"x": 1},
    data=b"\x00\xff",
)
VALUES: dict[str, Any] = {
    "order_id": "o-1",
    "amount": 2.5,
    "at": AT,
    "colour": "BLUE",
    "note": "n",
    "lines": [{"sku": "a", "count": 1}, {"sku": "b", "count": 3}],
    "counts": {"x": 1},
    "data": b"\x00\xff",
}


@pytest.fixture
def client(registry: str) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": registry}) as client:
        yield client


@pytest.fixture
def context(registry: str, monkeypatch: pytest.MonkeyPatch) -> SerializationContext:
    connect(schema_registry_url=registry)
    topic = f"orders-{uuid.uuid4().hex[:8]}"
    monkeypatch.setattr(Order.Settings, "topic", topic)
    return SerializationContext(topic, MessageField.VALUE)


def decoded(model: type[FlowBaseModel], data: bytes) -> FlowBaseModel:
    codec = codec_for(model)
    codec.load_schema(wire.schema_id_of(data) or 0)
    return codec.decode(data)


def test_confluents_deserializer_reads_what_a_model_writes(client, context):
    data = codec_for(Order).encode(ORDER)

    assert AvroDeserializer(client)(data, context) == VALUES


def test_a_model_reads_what_confluents_serializer_writes(client, context):
    schema = json.dumps(codec_for(Order).schema)
    data = AvroSerializer(client, schema)(VALUES, context)

    assert decoded(Order, data) == ORDER


def test_both_write_the_same_bytes_and_register_the_same_id_under_the_same_subject(client, context):
    ours = codec_for(Order).encode(ORDER)
    theirs = AvroSerializer(client, json.dumps(codec_for(Order).schema))(VALUES, context)

    assert theirs == ours
    assert client.get_versions(f"{context.topic}-value") == [1]


def test_a_model_reads_what_another_team_wrote_with_its_own_names_order_and_extra_fields(
    client, context
):
    """No field is where the model has it, names are others, and one field is unknown to it."""
    theirs = {
        "type": "record",
        "name": "com.example.shop.PlacedOrder",
        "fields": [
            {"name": "data", "type": "bytes"},
            {"name": "counts", "type": {"type": "map", "values": "int"}},
            {
                "name": "lines",
                "type": {
                    "type": "array",
                    "items": {
                        "type": "record",
                        "name": "PlacedLine",
                        "fields": [
                            {"name": "count", "type": "int"},
                            {"name": "sku", "type": "string"},
                            {"name": "weight", "type": ["null", "float"]},
                        ],
                    },
                },
            },
            {
                "name": "colour",
                "type": {"type": "enum", "name": "Hue", "symbols": ["GREEN", "BLUE", "RED"]},
            },
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "amount", "type": "float"},
            {"name": "order_id", "type": "string"},
            {"name": "internal", "type": ["string", "null"]},
        ],
    }
    values = {
        **{name: VALUES[name] for name in ("data", "counts", "colour", "at", "order_id")},
        "amount": 2.5,
        "lines": [
            {"sku": "a", "count": 1, "weight": None},
            {"sku": "b", "count": 3, "weight": 0.5},
        ],
        "internal": "x",
    }
    data = AvroSerializer(client, json.dumps(theirs))(values, context)

    cut = AT.replace(microsecond=123_000)
    assert decoded(Order, data) == ORDER.model_copy(update={"note": None, "at": cut})


def test_a_model_reads_a_record_whose_schema_refers_to_other_subjects(client, context):
    """A diamond: the record refers to two schemas that both refer to a third."""
    unit, line, colour = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("unit", "line", "colour"))
    client.register_schema(
        unit,
        Schema('{"type": "enum", "name": "u.Unit", "symbols": ["PIECE", "KILO"]}', "AVRO"),
    )
    of_unit = SchemaReference("u.Unit", unit, 1)
    for subject, name in ((line, "Line"), (colour, "Weight")):
        text = json.dumps(
            {
                "type": "record",
                "name": name,
                "namespace": "shop.parts",
                "fields": [
                    {"name": "sku", "type": "string"},
                    {"name": "count", "type": "long", "default": 1},
                    {"name": "unit", "type": "u.Unit"},
                ],
            }
        )
        client.register_schema(subject, Schema(text, "AVRO", [of_unit]))
    own = {
        "type": "record",
        "name": "Order",
        "namespace": "shop",
        "fields": [
            {"name": "order_id", "type": "string"},
            {"name": "amount", "type": "double"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "lines", "type": {"type": "array", "items": "shop.parts.Line"}},
            {"name": "weight", "type": ["null", "shop.parts.Weight"]},
            {"name": "counts", "type": {"type": "map", "values": "long"}},
            {"name": "previous", "type": ["null", "Order"]},
        ],
    }
    references = [
        SchemaReference("shop.parts.Line", line, 1),
        SchemaReference("shop.parts.Weight", colour, 1),
        of_unit,
    ]
    schema = Schema(json.dumps(own), "AVRO", references)
    plain = {"order_id": "o-1", "amount": 2.5, "at": AT, "counts": {"x": 1}, "lines": []}
    values = {
        **plain,
        "lines": [{"sku": "a", "count": 1, "unit": "PIECE"}],
        "weight": {"sku": "b", "count": 3, "unit": "KILO"},
        "previous": {**plain, "weight": None, "previous": None},
    }
    data = AvroSerializer(client, schema)(values, context)

    wanted = Order(order_id="o-1", amount=2.5, at=AT, lines=[Line(sku="a")], counts={"x": 1})
    assert decoded(Order, data) == wanted


def test_a_model_writes_with_a_latest_version_that_refers_to_another_subject(client, context):
    part = f"line-{uuid.uuid4().hex[:8]}"
    line = {
        "type": "record",
        "name": "shop.Line",
        "fields": [{"name": "sku", "type": "string"}, {"name": "count", "type": "int"}],
    }
    client.register_schema(part, Schema(json.dumps(line), "AVRO"))

    class Small(FlowBaseModel):
        class Settings:
            topic = context.topic
            use_latest_version = True

        order_id: str
        lines: list[Line]

    own = {
        "type": "record",
        "name": "shop.Small",
        "fields": [
            {"name": "lines", "type": {"type": "array", "items": "Line"}},
            {"name": "order_id", "type": "string"},
        ],
    }
    schema = Schema(json.dumps(own), "AVRO", [SchemaReference("shop.Line", part, 1)])
    schema_id = client.register_schema(f"{context.topic}-value", schema)

    data = codec_for(Small).encode(Small(order_id="o", lines=[Line(sku="a", count=2)]))

    assert wire.schema_id_of(data) == schema_id
    values = {"order_id": "o", "lines": [{"sku": "a", "count": 2}]}
    assert AvroDeserializer(client)(data, context) == values
    assert decoded(Small, data) == Small(order_id="o", lines=[Line(sku="a", count=2)])


def test_a_model_reads_its_kind_of_record_from_a_topic_of_several_kinds(client, context):
    """One schema, a union of records that may share types; others are told from garbage."""
    line = {
        "type": "record",
        "name": "shop.Line",
        "fields": [{"name": "sku", "type": "string"}, {"name": "count", "type": "int"}],
    }
    cancelled = {
        "type": "record",
        "name": "shop.Cancelled",
        "fields": [{"name": "order_id", "type": "string"}, {"name": "line", "type": line}],
    }
    placed = {
        "type": "record",
        "name": "shop.Placed",
        "fields": [
            {"name": "lines", "type": {"type": "array", "items": "shop.Line"}},
            {"name": "order_id", "type": "string"},
            {"name": "channel", "type": "string"},
        ],
    }

    class Placed(FlowBaseModel):
        class Settings:
            topic = context.topic

        order_id: str
        lines: list[Line]

    serializer = AvroSerializer(client, json.dumps([cancelled, placed]))
    values = {"order_id": "o", "lines": [{"sku": "a", "count": 2}], "channel": "web"}
    data = serializer(("shop.Placed", values), context)
    other = serializer(("shop.Cancelled", {"order_id": "o", "line": values["lines"][0]}), context)

    assert decoded(Placed, data) == Placed(order_id="o", lines=[Line(sku="a", count=2)])
    with pytest.raises(DeserializationError, match="another kind of record"):
        decoded(Placed, other)
    for cut in range(5, len(data) - len("web")):
        with pytest.raises(DeserializationError):
            decoded(Placed, data[:cut])


class Parcel(FlowBaseModel):
    class Settings:
        topic = ""
        value_serializer = "json"

    parcel_id: str
    at: datetime
    lines: list[Line]
    note: str | None = None


PARCEL = Parcel(parcel_id="p-1", at=AT, lines=[Line(sku="a", count=2)])


@pytest.fixture
def json_context(context: SerializationContext, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Parcel.Settings, "topic", context.topic)
    return context


def test_confluents_json_deserializer_reads_and_validates_what_a_model_writes(client, json_context):
    data = codec_for(Parcel).encode(PARCEL)

    read = JSONDeserializer(None, schema_registry_client=client)(data, json_context)

    assert read == PARCEL.model_dump(mode="json")


def test_a_model_reads_what_confluents_json_serializer_writes(client, json_context):
    schema = json.dumps(Parcel.model_json_schema())
    serializer = JSONSerializer(schema, client)

    data = serializer(PARCEL.model_dump(mode="json"), json_context)

    assert decoded(Parcel, data) == PARCEL
