"""The real schema registry that the other tests trust."""

from __future__ import annotations

import uuid

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

ORDER = (
    '{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}'
    ',{"name":"amount","type":"double"}]}'
)
OTHER = ORDER.replace('"id","type":"string"', '"id","type":"long"')


@pytest.fixture
def client(registry):
    with SchemaRegistryClient({"url": registry}) as client:
        yield client


@pytest.fixture
def subject():
    return f"{uuid.uuid4().hex}-value"


def test_a_schema_is_found_by_the_id_that_it_was_given(client, subject):
    schema_id = client.register_schema(subject, Schema(ORDER, "AVRO"))

    assert client.get_schema(schema_id).schema_str == ORDER
    latest = client.get_latest_version(subject)
    assert (latest.schema_id, latest.version) == (schema_id, 1)


def test_the_same_schema_keeps_its_id_and_another_gets_another(client, subject):
    first = client.register_schema(subject, Schema(ORDER, "AVRO"))
    again = client.register_schema(subject, Schema(ORDER, "AVRO"))
    other = client.register_schema(f"other-{subject}", Schema(OTHER, "AVRO"))

    assert again == first
    assert other != first


def test_an_unknown_id_is_not_found(client):
    with pytest.raises(SchemaRegistryError) as refusal:
        client.get_schema(999_999)

    assert refusal.value.http_status_code == 404
