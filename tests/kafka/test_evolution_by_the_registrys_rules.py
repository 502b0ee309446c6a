"""What the registry accepts at a level, models read in the directions that the level promises.

BACKWARD: the new schema reads what was written with the old one. FORWARD: the old one reads what
is written with the new one. FULL: both. The transitive ones: with all versions, not the last.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from pydantic import BaseModel, Field, create_model

from flowodm import BaseSettings, ConsumerLoop, FlowBaseModel, connect
from flowodm.avro import wire
from flowodm.exceptions import DeserializationError, SchemaCompatibilityError
from flowodm.serialization.codecs import codec_for
from flowodm.testing import RegistryProxy
from support.brokers.records import committed_offsets, produce
from support.loops import PATIENCE, Events, Running
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = Enum("Colour", {"RED": "RED", "BLUE": "BLUE"}, module=__name__)
LARGE = Enum("Colour", {"RED": "RED", "BLUE": "BLUE", "GREEN": "GREEN"}, module=__name__)
LEVELS = {
    "BACKWARD": (True, False),
    "FORWARD": (False, True),
    "FULL": (True, True),
    "BACKWARD_TRANSITIVE": (True, False),
    "FORWARD_TRANSITIVE": (False, True),
    "FULL_TRANSITIVE": (True, True),
}
INT, FLOAT = {"type": "int"}, {"type": "float"}


def part(**fields: Any) -> type[BaseModel]:
    return create_model("Part", **fields)


@dataclass(frozen=True)
class Change:
    """One change of a record's fields.

    Attributes:
        old, new: The model's fields, beside its id, before and after.
        written: A value of each, as the old model writes it, then as the new one does.
        read: The same as the other model reads it: the new one the old record, and back. None:
            it cannot, and the registry's levels for that direction refuse the change.
        plain: Avro types of the old or the new schema that no Python type stands for.
    """

    old: dict[str, Any]
    new: dict[str, Any]
    written: tuple[dict[str, Any], dict[str, Any]]
    read: tuple[dict[str, Any] | None, dict[str, Any] | None]
    plain: tuple[dict[str, str], dict[str, str]] = field(default_factory=lambda: ({}, {}))


NEW_PART, OLD_PART = part(x=(int, 1), y=(str, "-")), part(x=(int, 1))
CHANGES = {
    "a field with a default is added": Change(
        {}, {"note": (str, "none")}, ({}, {"note": "n"}), ({"note": "none"}, {})
    ),
    "a field without a default is added": Change(
        {}, {"note": (str, ...)}, ({}, {"note": "n"}), (None, {})
    ),
    "an optional field is added": Change(
        {}, {"note": (str | None, None)}, ({}, {"note": "n"}), ({"note": None}, {})
    ),
    "a field with a default is removed": Change(
        {"note": (str, "none")}, {}, ({"note": "n"}, {}), ({}, {"note": "none"})
    ),
    "a field without a default is removed": Change(
        {"note": (str, ...)}, {}, ({"note": "n"}, {}), ({}, None)
    ),
    "a field moves": Change(
        {"a": (int, ...), "b": (str, ...)},
        {"b": (str, ...), "a": (int, ...)},
        ({"a": 1, "b": "x"}, {"a": 2, "b": "y"}),
        ({"a": 1, "b": "x"}, {"a": 2, "b": "y"}),
    ),
    "a field is renamed, and the new one has the old name as alias": Change(
        {"sum": (float, ...)},
        {"total": (float, Field(alias="sum"))},
        ({"sum": 1.5}, {"total": 2.5}),
        ({"total": 1.5}, None),
    ),
    "an int becomes a long": Change(
        {"n": (int, ...)},
        {"n": (int, ...)},
        ({"n": 5}, {"n": 2**40}),
        ({"n": 5}, None),
        ({"n": "int"}, {}),
    ),
    "an int becomes a float": Change(
        {"n": (int, ...)},
        {"n": (float, ...)},
        ({"n": 5}, {"n": 0.5}),
        ({"n": 5.0}, None),
        ({"n": "int"}, {"n": "float"}),
    ),
    "a long becomes a double": Change(
        {"n": (int, ...)}, {"n": (float, ...)}, ({"n": 5}, {"n": 0.5}), ({"n": 5.0}, None)
    ),
    "a float becomes a double": Change(
        {"n": (float, ...)},
        {"n": (float, ...)},
        ({"n": 0.5}, {"n": 0.1}),
        ({"n": 0.5}, None),
        ({"n": "float"}, {}),
    ),
    "a string becomes bytes": Change(
        {"s": (str, ...)},
        {"s": (bytes, ...)},
        ({"s": "é"}, {"s": b"ab"}),
        ({"s": "é".encode()}, {"s": "ab"}),
    ),
    "a field becomes optional": Change(
        {"s": (str, ...)}, {"s": (str | None, ...)}, ({"s": "a"}, {"s": None}), ({"s": "a"}, None)
    ),
    "a union grows": Change(
        {"s": (str | None, ...)},
        {"s": (str | int | None, ...)},
        ({"s": None}, {"s": 5}),
        ({"s": None}, None),
    ),
    "an enum grows": Change(
        {"c": (SMALL, ...)},
        {"c": (LARGE, ...)},
        ({"c": SMALL("BLUE")}, {"c": LARGE("GREEN")}),
        ({"c": LARGE("BLUE")}, None),
    ),
    "a nested record grows": Change(
        {"parts": (list[OLD_PART], ...)},  # type: ignore[valid-type]  # made above
        {"parts": (list[NEW_PART], ...)},  # type: ignore[valid-type]  # made above
        ({"parts": [OLD_PART(x=2)]}, {"parts": [NEW_PART(x=3, y="z")]}),
        ({"parts": [NEW_PART(x=2)]}, {"parts": [OLD_PART(x=3)]}),
    ),
    "the values of a map are promoted": Change(
        {"m": (dict[str, int], ...)},
        {"m": (dict[str, float], ...)},
        ({"m": {"a": 1}}, {"m": {"a": 0.5}}),
        ({"m": {"a": 1.0}}, None),
    ),
    "a number becomes a timestamp": Change(
        {"at": (int, ...)},
        {"at": (datetime, ...)},
        ({"at": 5}, {"at": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)}),
        ({"at": datetime(1970, 1, 1, 0, 0, 0, 5, UTC)}, {"at": 1_000_000}),
    ),
    "a text becomes a number": Change(
        {"s": (str, ...)}, {"s": (int, ...)}, ({"s": "x"}, {"s": 5}), (None, None)
    ),
}


@pytest.fixture
def client(registry: str) -> Iterator[SchemaRegistryClient]:
    connect(schema_registry_url=registry)
    with SchemaRegistryClient({"url": registry}) as client:
        yield client


@pytest.fixture
def topic() -> str:
    return f"orders-{uuid.uuid4().hex[:8]}"


def model_of(topic: str, fields: dict[str, Any], plain: dict[str, str]) -> type[FlowBaseModel]:
    """A model of these fields; some of them with another Avro type than Python's."""
    model = create_model("Order", __base__=FlowBaseModel, order_id=(str, ...), **fields)
    model.Settings = type("Settings", (), {"topic": topic})
    if plain:
        schema = json.loads(json.dumps(codec_for(model).schema))
        for one in schema["fields"]:
            one["type"] = plain.get(one["name"], one["type"])
        model.Settings.avro_schema = json.dumps(schema)
    return model


def reads(reader: type[FlowBaseModel], data: bytes) -> FlowBaseModel | None:
    """The message, or None if the reader cannot have it."""
    codec = codec_for(reader)
    try:
        codec.load_schema(wire.schema_id_of(data) or 0)
        return codec.decode(data)
    except DeserializationError:
        return None


def registered(client: SchemaRegistryClient, subject: str, model: type[FlowBaseModel]) -> int:
    return client.register_schema(subject, Schema(json.dumps(codec_for(model).schema), "AVRO"))


@pytest.mark.parametrize("name", list(CHANGES))
def test_a_change_is_read_in_the_directions_in_which_the_registry_accepts_it(client, topic, name):
    change = CHANGES[name]
    models = [
        model_of(topic, fields, plain)
        for fields, plain in zip((change.old, change.new), change.plain, strict=True)
    ]
    messages = [
        model(order_id="o-1", **{_written_as(model, key): value for key, value in values.items()})
        for model, values in zip(models, change.written, strict=True)
    ]
    expected = [
        None
        if values is None
        else reader(
            order_id="o-1", **{_written_as(reader, key): value for key, value in values.items()}
        )
        for reader, values in zip(reversed(models), change.read, strict=True)
    ]
    for level, promises in LEVELS.items():
        subject = f"{topic}-{level}"
        registered(client, subject, models[0])
        client.set_compatibility(subject, level)
        readable = [message is not None for message in expected]
        if all(can for can, promised in zip(readable, promises, strict=True) if promised):
            registered(client, subject, models[1])
        else:
            with pytest.raises(SchemaRegistryError) as refusal:
                registered(client, subject, models[1])
            assert refusal.value.http_status_code == 409, level
    data = [codec_for(type(message)).encode(message) for message in messages]

    assert reads(models[1], data[0]) == expected[0]
    assert reads(models[0], data[1]) == expected[1]


def _written_as(model: type[FlowBaseModel], name: str) -> str:
    return model.model_fields[name].alias or name


REQUIRED, DEFAULTED = {"n": (int, ...)}, {"n": (int, 7)}


@pytest.mark.parametrize(
    ("level", "versions", "reader", "writer"),
    [
        # The third can do without the second's default, and the first never had the field.
        ("BACKWARD", ({}, DEFAULTED, REQUIRED), 2, 0),
        # The first needs a field that the second may lack, and the third does.
        ("FORWARD", (REQUIRED, DEFAULTED, {}), 0, 2),
        ("FULL", ({}, DEFAULTED, REQUIRED), 2, 0),
    ],
)
def test_a_transitive_level_promises_what_the_last_version_alone_does_not(
    client, topic, level, versions, reader, writer
):
    models = [model_of(topic, fields, {}) for fields in versions]
    for transitive in ("", "_TRANSITIVE"):
        subject = f"{topic}{transitive}"
        registered(client, subject, models[0])
        client.set_compatibility(subject, level + transitive)
        registered(client, subject, models[1])
    registered(client, topic, models[2])
    with pytest.raises(SchemaRegistryError, match="409"):
        registered(client, f"{topic}_TRANSITIVE", models[2])

    values = {"n": 5} if "n" in models[writer].model_fields else {}
    data = codec_for(models[writer]).encode(models[writer](order_id="o-1", **values))
    assert reads(models[reader], data) is None
    assert reads(models[1], data) is not None


def test_a_model_that_its_subject_refuses_cannot_be_written_and_says_why(client, topic):
    old, new = (model_of(topic, fields, {}) for fields in ({}, REQUIRED))
    old.register_schema()
    client.set_compatibility(f"{topic}-value", "BACKWARD")
    with pytest.raises(SchemaCompatibilityError, match=f"{topic}-value"):
        codec_for(new).encode(new(order_id="o-1", n=1))

    assert client.get_versions(f"{topic}-value") == [1]


def test_one_topic_holds_records_of_every_version_and_each_schema_is_asked_for_once(
    kafka, registry, new_topic, group
):
    """Also one from before the registry's time, which only its own handler may judge."""
    connect(kafka, schema_registry_url=registry)
    topic = new_topic(1)
    versions = ({}, DEFAULTED, {"note": (str | None, None)}, {"n": (int, 7), "extra": (str, "x")})
    writers = [model_of(topic, fields, {}) for fields in versions]
    written = [
        codec_for(writers[n % len(writers)]).encode(writers[n % len(writers)](order_id=str(n)))
        for n in range(40)
    ]
    unknown = wire.header(987_654) + b"\x02a"
    produce(kafka, topic, [*written, unknown, b"\x02a"])
    reader = model_of(topic, {"n": (int, 7), "note": (str | None, "-")}, {})
    seen, failed = [], []
    with RegistryProxy(registry) as proxy:
        connect(kafka, schema_registry_url=proxy.url)
        loop = ConsumerLoop(
            reader,
            seen.append,
            BaseSettings(),
            group_id=group,
            error_handler=lambda error, _raw, _message: failed.append(error),
            commit_strategy="after_processing",
        )
        with Running(loop, Events()) as running:
            wait_until(lambda: len(failed) == 2, PATIENCE, "all records are handled")
            running.stop()
        asked = [request.path for request in proxy.requests if "/schemas/ids/" in request.path]

    def note(n: int) -> str | None:
        return None if n % len(versions) == 2 else "-"

    assert seen == [reader(order_id=str(n), n=7, note=note(n)) for n in range(40)]
    assert [type(error) for error in failed] == [DeserializationError] * 2
    assert [error.schema_id for error in failed] == [987_654, None]
    assert [error.offset for error in failed] == [40, 41]
    assert len(asked) == len(set(asked)) == len(versions) + 1
    assert committed_offsets(kafka, group, topic) == {0: 42}
