"""How a writer comes to its schema's id: registering, looking up, the latest version, subjects."""

from __future__ import annotations

import json
import logging
import uuid
from io import BytesIO
from typing import TYPE_CHECKING, Any

import fastavro
import pytest
from confluent_kafka.schema_registry import (
    Schema,
    SchemaRegistryClient,
    record_subject_name_strategy,
    topic_record_subject_name_strategy,
    topic_subject_name_strategy,
)
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from flowodm import FlowBaseModel, connect
from flowodm.avro import wire
from flowodm.exceptions import SchemaRegistryError, SerializationError
from flowodm.serialization.codecs import codec_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def client(registry: str) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": registry}) as client:
        yield client


@pytest.fixture
def topic(registry: str) -> str:
    connect(schema_registry_url=registry)
    return f"orders-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def new_order(topic: str) -> Callable[..., Any]:
    """``new_order(**settings)``: a model of one text and one number, with these Settings."""

    def make(**settings: Any) -> type[FlowBaseModel]:
        class Order(FlowBaseModel):
            Settings = type("Settings", (), {"topic": topic, **settings})

            order_id: str = "o-1"
            amount: float = 2.5

        return Order

    return make


def schema_of(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "shop.Order", "fields": list(fields)}


ID = {"name": "order_id", "type": "string"}
AMOUNT = {"name": "amount", "type": "double"}
COUNTRY = {"name": "country", "type": "string", "default": "nl"}


def registered(client: SchemaRegistryClient, subject: str, schema: Any) -> int:
    return client.register_schema(subject, Schema(json.dumps(schema), "AVRO"))


def test_without_auto_register_a_schema_that_is_not_there_is_an_error_that_says_what_to_do(
    client, topic, new_order
):
    model = new_order(auto_register=False)
    with pytest.raises(SchemaRegistryError, match=rf"{topic}-value.*upload-schema.*auto_register"):
        codec_for(model).prepare()

    assert f"{topic}-value" not in client.get_subjects()


def test_without_auto_register_another_schema_of_the_subject_is_not_taken(client, topic, new_order):
    registered(client, f"{topic}-value", schema_of(ID))
    with pytest.raises(SchemaRegistryError, match="does not have this schema"):
        codec_for(new_order(auto_register=False)).prepare()

    assert client.get_versions(f"{topic}-value") == [1]


def test_without_auto_register_the_id_of_the_same_schema_is_found(client, topic, new_order):
    schema_id = registered(client, f"{topic}-value", codec_for(new_order()).schema)
    model = new_order(auto_register=False)

    assert wire.schema_id_of(codec_for(model).encode(model())) == schema_id
    assert client.get_versions(f"{topic}-value") == [1]


def test_register_schema_registers_also_where_writing_does_not(new_order):
    model = new_order(auto_register=False)
    schema_id = model.register_schema()

    assert wire.schema_id_of(codec_for(model).encode(model())) == schema_id


def test_the_latest_version_is_written_with_and_nothing_is_registered(client, topic, new_order):
    """The schema that a record names is the one that its bytes follow."""
    registered(client, f"{topic}-value", schema_of(ID, AMOUNT))
    latest = schema_of(COUNTRY, AMOUNT, ID)
    schema_id = registered(client, f"{topic}-value", latest)
    model = new_order(use_latest_version=True)
    codec = codec_for(model)

    data = codec.encode(model())

    assert wire.schema_id_of(data) == schema_id
    values = {"country": "nl", "amount": 2.5, "order_id": "o-1"}
    assert fastavro.schemaless_reader(BytesIO(data[5:]), latest, None) == values
    assert client.get_versions(f"{topic}-value") == [1, 2]
    codec.load_schema(schema_id)
    assert codec.decode(data) == model()


def test_a_field_that_the_latest_version_lacks_is_said_and_not_written(
    client, topic, new_order, caplog
):
    registered(client, f"{topic}-value", schema_of(ID))
    model = new_order(use_latest_version=True)
    with caplog.at_level(logging.WARNING, "flowodm"):
        data = codec_for(model).encode(model())

    values = fastavro.schemaless_reader(BytesIO(data[5:]), schema_of(ID), None)
    assert values == {"order_id": "o-1"}
    [line] = [record.getMessage() for record in caplog.records]
    assert "has no amount" in line
    assert f"{topic}-value" in line


def test_a_field_that_only_the_latest_version_has_needs_a_default_there(client, topic, new_order):
    required = {"name": "country", "type": "string"}
    registered(client, f"{topic}-value", schema_of(ID, AMOUNT, required))
    model = new_order(use_latest_version=True)
    with pytest.raises(SerializationError, match="country"):
        codec_for(model).encode(model())


def test_a_subject_without_any_version_is_an_error_that_says_what_to_do(topic, new_order):
    with pytest.raises(SchemaRegistryError, match=rf"subject {topic}-value has no schema"):
        codec_for(new_order(use_latest_version=True)).prepare()


@pytest.mark.parametrize(
    ("strategy", "theirs"),
    [
        ("topic", topic_subject_name_strategy),
        ("record", record_subject_name_strategy),
        ("topic_record", topic_record_subject_name_strategy),
    ],
)
def test_the_subject_is_the_one_that_confluents_strategy_gives(
    client, topic, new_order, strategy, theirs
):
    model = new_order(subject_strategy=strategy)
    schema_id = model.register_schema()
    context = SerializationContext(topic, MessageField.VALUE)
    codec = codec_for(model)

    options = {"auto.register.schemas": False, "subject.name.strategy": theirs}
    serializer = AvroSerializer(client, json.dumps(codec.schema), conf=options)
    data = serializer({"order_id": "o-1", "amount": 2.5}, context)

    assert wire.schema_id_of(data) == schema_id
    assert codec.encode(model()) == data


def test_a_subject_of_its_own_wins_over_the_strategy(client, topic, new_order):
    new_order(subject_strategy="record", schema_subject=f"{topic}-mine").register_schema()

    assert client.get_versions(f"{topic}-mine") == [1]
