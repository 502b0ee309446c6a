"""Record keys on a real Kafka and registry: others read them, and equal ones stay together."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from pydantic import BaseModel

from flowodm import FlowBaseModel, connect
from flowodm.avro import wire
from support.brokers.records import read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Place(BaseModel):
    shop: str
    till: int


class Sale(FlowBaseModel):
    class Settings:
        topic = ""
        key_field = "place"

    place: Any
    amount: float = 1.0


class ByPlace(Sale):
    place: Place


class ByName(Sale):
    place: str


class ById(Sale):
    place: UUID


@pytest.fixture
def client(registry: str) -> Iterator[SchemaRegistryClient]:
    with closing(SchemaRegistryClient({"url": registry})) as client:
        yield client


@pytest.fixture
def topic(
    kafka: str, registry: str, new_topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> str:
    connect(kafka, schema_registry_url=registry)
    name = new_topic(4)
    monkeypatch.setattr(Sale.Settings, "topic", name)
    return name


@pytest.mark.parametrize(
    ("model", "key", "read"),
    [
        (ByName, "ö", "ö"),
        (ById, UUID(int=7), UUID(int=7)),
        (ByPlace, Place(shop="s", till=3), {"shop": "s", "till": 3}),
    ],
)
def test_an_avro_key_is_what_confluents_deserializer_reads(
    kafka, registry, client, topic, monkeypatch, model, key, read
):
    monkeypatch.setattr(Sale.Settings, "key_serializer", "avro", raising=False)
    model(place=key).produce()
    (record,) = read_all(kafka, topic)
    context = SerializationContext(topic, MessageField.KEY)
    assert AvroDeserializer(client)(record.key(), context) == read
    stored = client.get_version(f"{topic}-key", "latest")
    assert wire.schema_id_of(record.key()) == stored.schema_id


def test_an_avro_key_has_the_body_that_confluents_serializer_writes(
    kafka, registry, client, topic, monkeypatch
):
    monkeypatch.setattr(Sale.Settings, "key_serializer", "avro", raising=False)
    ByName(place="ö").produce()
    (record,) = read_all(kafka, topic)
    serialize = AvroSerializer(client, '"string"')
    theirs = serialize("ö", SerializationContext(topic, MessageField.KEY))
    # The registry of the tests takes "string" and {"type": "string"} for two schemas.
    assert theirs[wire.HEADER_SIZE :] == record.key()[wire.HEADER_SIZE :]


def test_a_json_key_is_framed_json_with_a_schema_of_its_own(
    kafka, registry, client, topic, monkeypatch
):
    monkeypatch.setattr(Sale.Settings, "key_serializer", "json", raising=False)
    ByPlace(place=Place(shop="s", till=3)).produce()
    (record,) = read_all(kafka, topic)
    assert json.loads(record.key()[wire.HEADER_SIZE :]) == {"shop": "s", "till": 3}
    stored = client.get_version(f"{topic}-key", "latest")
    assert stored.schema.schema_type == "JSON"
    assert wire.schema_id_of(record.key()) == stored.schema_id


@pytest.mark.parametrize("serializer", ["string", "json", "avro"])
def test_records_of_one_key_are_in_one_partition_in_their_order(
    kafka, topic, monkeypatch, serializer
):
    monkeypatch.setattr(Sale.Settings, "key_serializer", serializer, raising=False)
    ByName.produce_many(ByName(place=f"k{i % 5}", amount=i) for i in range(50))
    partitions: dict[bytes, list[int]] = {}
    for record in read_all(kafka, topic):
        partitions.setdefault(record.key(), []).append(record.partition())
    assert len(partitions) == 5
    assert all(len(set(places)) == 1 for places in partitions.values())
