"""Record keys as text, JSON and Avro."""

from __future__ import annotations

import json
from decimal import Decimal
from enum import Enum
from io import BytesIO
from typing import Any
from uuid import UUID

import fastavro
import pytest
from pydantic import BaseModel, Field

from flowodm.avro import wire
from flowodm.connection import KafkaConnection
from flowodm.exceptions import SchemaValidationError, SerializationError, SettingsError
from flowodm.model import FlowBaseModel
from flowodm.registry.registration import Registration
from flowodm.serialization.keys import AvroKeys, JsonKeys, TextKeys, keys_of


class Colour(Enum):
    RED = "red"


class Registry:
    """What key serializers need of a schema registry, in memory."""

    def __init__(self) -> None:
        self.registered: list[tuple[str, Any, str]] = []
        self.looked_up: list[str] = []

    def register(self, subject: str, schema: Any, schema_type: str = "AVRO") -> int:
        self.registered.append((subject, schema, schema_type))
        return 5

    def lookup(self, subject: str, _schema: Any, _schema_type: str = "AVRO") -> int:
        self.looked_up.append(subject)
        return 6


class Place(BaseModel):
    shop: str
    till: int = Field(alias="tillNumber")


def json_keys(annotation: Any, registry: Any = None) -> JsonKeys:
    registration = Registration("orders-key", schema_type="JSON")
    return JsonKeys("Order.key", annotation, registry, registration)


def avro_keys(annotation: Any, registry: Any = None) -> AvroKeys:
    return AvroKeys("Order.key", annotation, registry, Registration("orders-key"))


def keyed(annotation: Any, serializer: str) -> type[FlowBaseModel]:
    class Order(FlowBaseModel):
        class Settings:
            topic = "orders"
            key_field = "key"
            key_serializer = serializer

        key: annotation = None

    return Order


@pytest.mark.parametrize(
    ("key", "data"),
    [
        ("ö", "ö".encode()),
        (7, b"7"),
        (b"\xff", b"\xff"),
        (Colour.RED, b"red"),
        (UUID(int=1), b"00000000-0000-0000-0000-000000000001"),
    ],
)
def test_text_keys_are_what_str_shows(key, data):
    assert TextKeys().encode(key) == data


def test_text_that_utf8_cannot_hold_is_an_error():
    with pytest.raises(SerializationError, match="key"):
        TextKeys().encode("\ud800")


@pytest.mark.parametrize(
    ("annotation", "key", "data"),
    [
        (str, 'a"b', rb'"a\"b"'),
        (int, 7, b"7"),
        (Colour, Colour.RED, b'"red"'),
        (Place, Place(shop="s", tillNumber=1), b'{"shop":"s","tillNumber":1}'),
    ],
)
def test_json_keys_are_what_pydantic_writes_in_one_line(annotation, key, data):
    assert json_keys(annotation).encode(key) == data


@pytest.mark.parametrize("keys", [json_keys, avro_keys])
def test_a_key_that_does_not_fit_is_an_error_without_the_value(keys):
    with pytest.raises(SerializationError, match=r"Order\.key") as caught:
        keys(int).encode("secret")
    assert "secret" not in str(caught.value)


def test_a_json_key_is_never_null():
    with pytest.raises(SerializationError, match="null"):
        json_keys(float).encode(float("nan"))


@pytest.mark.parametrize(
    ("annotation", "key", "schema", "read"),
    [
        (str, "ö", "string", "ö"),
        (int, 7, "long", 7),
        (bytes, b"\xff", "bytes", b"\xff"),
        (UUID, UUID(int=1), {"type": "string", "logicalType": "uuid"}, UUID(int=1)),
    ],
)
def test_avro_keys_are_those_of_the_types_own_schema(annotation, key, schema, read):
    registry = Registry()
    data = avro_keys(annotation, registry).encode(key)

    assert data.startswith(wire.header(5))
    ((subject, registered, kind),) = registry.registered
    assert (subject, registered, kind) == ("orders-key", schema, "AVRO")
    body = BytesIO(data[wire.HEADER_SIZE :])
    assert fastavro.schemaless_reader(body, fastavro.parse_schema(schema), None) == read
    assert not body.read()


def test_a_model_as_avro_key_is_its_record():
    registry = Registry()
    data = avro_keys(Place, registry).encode(Place(shop="s", tillNumber=1))
    schema = registry.registered[0][1]
    assert schema["name"] == "Place"
    body = BytesIO(data[wire.HEADER_SIZE :])
    parsed = fastavro.parse_schema(json.loads(json.dumps(schema)))
    assert fastavro.schemaless_reader(body, parsed, None) == {"shop": "s", "till": 1}


def test_json_keys_are_framed_with_their_schemas_id():
    registry = Registry()
    keys = json_keys(Place, registry)
    assert not keys.prepared
    assert keys.encode(Place(shop="s", tillNumber=1)).startswith(wire.header(5) + b"{")
    keys.prepare()
    assert keys.prepared
    ((subject, schema, kind),) = registry.registered
    assert (subject, schema["title"], kind) == ("orders-key", "Place", "JSON")


def test_a_schema_that_must_not_be_registered_is_looked_up():
    registry = Registry()
    keys = AvroKeys("Order.key", str, registry, Registration("orders-key", auto_register=False))
    assert keys.encode("a").startswith(wire.header(6))
    assert registry.looked_up == ["orders-key"]
    assert registry.registered == []


@pytest.mark.parametrize(("serializer", "data"), [("avro", b"\x02a"), ("json", b'"a"')])
def test_an_optional_field_is_written_like_one_that_is_not(serializer, data):
    for annotation in (str, str | None):
        assert keys_of(keyed(annotation, serializer)).encode("a") == data


def test_constraints_of_the_field_belong_to_the_key():
    class Priced(FlowBaseModel):
        class Settings:
            topic = "orders"
            key_field = "price"
            key_serializer = "json"

        price: Decimal = Field(max_digits=4, decimal_places=2)

    keys = keys_of(Priced)
    assert keys.encode(Decimal("1.50")) == b'"1.50"'
    with pytest.raises(SerializationError, match=r"Priced\.price"):
        keys.encode(Decimal("1.555"))


def test_serializers_are_made_once_and_anew_for_other_settings(monkeypatch):
    model = keyed(str, "json")
    assert keys_of(model) is keys_of(model)
    before = keys_of(model)
    monkeypatch.setattr(model.Settings, "topic", "others")
    assert keys_of(model) is not before


@pytest.mark.parametrize("serializer", ["avro", "json"])
def test_a_serializer_without_a_key_field_is_an_error_that_says_what_is_missing(serializer):
    class Order(FlowBaseModel):
        class Settings:
            topic = "orders"
            key_serializer = serializer

    with pytest.raises(SettingsError, match=r"Order\.Settings.*key_field"):
        keys_of(Order)


def test_a_type_without_an_avro_form_is_an_error_that_names_the_field():
    with pytest.raises(SchemaValidationError, match=r"Order\.key"):
        keys_of(keyed(complex, "avro"))


@pytest.mark.parametrize("serializer", ["avro", "json"])
def test_the_models_settings_say_how_keys_are_registered_and_framed(monkeypatch, serializer):
    registry, model = Registry(), keyed(str, serializer)
    monkeypatch.setattr(KafkaConnection, "registry", registry)
    assert keys_of(model).encode("a").startswith(wire.header(5))
    assert registry.registered[0][::2] == ("orders-key", serializer.upper())

    monkeypatch.setattr(model.Settings, "auto_register", False, raising=False)
    assert keys_of(model).encode("a").startswith(wire.header(6))

    monkeypatch.setattr(model.Settings, "confluent_wire_format", False, raising=False)
    assert not keys_of(model).encode("a").startswith(b"\x00")
