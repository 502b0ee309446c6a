"""Framed records with a real schema registry, and a real Kafka where records travel."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time
from enum import Enum
from io import BytesIO
from typing import TYPE_CHECKING, Any
from uuid import UUID

import fastavro
import httpx2
import pytest
from pydantic import Field

from flowodm.avro import wire
from flowodm.avro.codec import Codec, SchemaNotLoadedError, codec_for
from flowodm.connection import connect, get_kafka_connection, get_schema_registry
from flowodm.exceptions import (
    DeserializationError,
    RegistryUnavailableError,
    SchemaCompatibilityError,
)
from flowodm.model import FlowBaseModel
from flowodm.registry.client import SchemaRegistry
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


class Order(FlowBaseModel):
    class Settings:
        topic = ""
        consumer_group = ""

    order_id: str
    amount: float
    note: str = "none"


@pytest.fixture(autouse=True)
def connected(registry: str, group: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    get_kafka_connection().reset()
    connect(schema_registry_url=registry)
    monkeypatch.setattr(Order.Settings, "topic", f"orders-{uuid.uuid4().hex[:8]}")
    monkeypatch.setattr(Order.Settings, "consumer_group", group)
    yield
    get_kafka_connection().reset()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every request that goes to the registry, in order."""
    made: list[str] = []
    send = httpx2.Client.request

    def counted(self: Any, method: str, url: Any, **kwargs: Any) -> Any:
        made.append(f"{method} {str(url).partition('/ccompat/v7')[2]}")
        return send(self, method, url, **kwargs)

    monkeypatch.setattr(httpx2.Client, "request", counted)
    return made


@pytest.fixture
def onlooker(registry: str) -> Iterator[SchemaRegistry]:
    """The same registry, seen without what this process remembers of it."""
    onlooker = SchemaRegistry({"url": registry})
    yield onlooker
    onlooker.close()


def test_the_header_names_the_schema_that_the_body_was_written_with(onlooker):
    data = codec_for(Order).encode(Order(order_id="o-1", amount=2.5))
    schema_id = wire.schema_id_of(data)
    assert schema_id is not None
    values = fastavro.schemaless_reader(BytesIO(data[5:]), onlooker.schema(schema_id), None)
    assert values == {"order_id": "o-1", "amount": 2.5, "note": "none"}
    assert Order.register_schema() == schema_id
    assert get_schema_registry().get_subjects() != Field(default=[])


def test_the_schema_is_registered_once_for_many_messages(requests):
    codec = codec_for(Order)
    for _ in range(10):
        codec.encode(Order(order_id="o-1", amount=2.5))
    Order.register_schema()
    assert len(requests) == 1


def test_an_old_record_is_decoded_by_its_own_schema(requests, onlooker):
    old = {
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "amount", "type": "int"},
            {"name": "coupon", "type": "string"},
            {"name": "order_id", "type": "string"},
        ],
    }
    schema_id = onlooker.register(f"{Order.Settings.topic}-old", old)
    stream = BytesIO()
    fastavro.schemaless_writer(stream, old, {"amount": 3, "coupon": "c", "order_id": "o-1"})
    data = wire.header(schema_id) + stream.getvalue()
    requests.clear()
    codec = codec_for(Order)
    with pytest.raises(SchemaNotLoadedError):
        codec.decode(data)
    codec.load_schema(schema_id)
    for _ in range(10):
        assert codec.decode(data) == Order(order_id="o-1", amount=3.0, note="none")
    assert requests == [f"GET /schemas/ids/{schema_id}"]


def test_an_unknown_id_is_a_bad_record():
    with pytest.raises(DeserializationError) as caught:
        codec_for(Order).load_schema(987_654)
    assert caught.value.schema_id == 987_654


def test_a_registry_that_is_down_is_not_a_bad_record():
    connect(schema_registry_url="http://127.0.0.1:1/apis/ccompat/v7")
    with pytest.raises(RegistryUnavailableError):
        codec_for(Order).load_schema(1)
    with pytest.raises(RegistryUnavailableError):
        codec_for(Order).encode(Order(order_id="x", amount=1))


def test_an_incompatible_schema_is_refused_by_its_subject():
    registry = get_kafka_connection().registry
    assert registry is not None
    subject = f"{Order.Settings.topic}-value"
    old = {"type": "record", "name": "Order", "fields": [{"name": "order_id", "type": "int"}]}
    registry.register(subject, old)
    get_schema_registry().set_compatibility(subject, "BACKWARD")
    with pytest.raises(SchemaCompatibilityError, match=subject):
        Order.register_schema()


class Colour(Enum):
    RED = "RED"
    BLUE = "BLUE"


class Tree(FlowBaseModel):
    value: int = 0
    branches: list[Tree] = Field(default=[])
    parent: Tree | None = None


class Everything(FlowBaseModel):
    """One field of every type, each with a default: a strict parser reads them all."""

    text: str = "ä"
    number: int = -(2**63)
    real: float = 1
    truth: bool = True
    data: bytes = b"\x00\xff"
    nothing: None = None
    either: int | str | None = "x"
    maybe: str | None = None
    rather: float | None = 2.5
    many: list[str] = Field(default=["a"])
    some: set[int] = Field(default={1})
    named: dict[str, float] = Field(default={"a": 1.5})
    at: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    day: date = date(2024, 1, 1)
    clock: time = time(12, 30)
    token: UUID = UUID(int=5)
    colour: Colour = Colour.BLUE
    other_colour: Colour | None = None
    tree: Tree = Tree(value=3)
    trees: dict[str, list[Tree | None]] = Field(default={})
    empty: Tree | None = None


def test_every_type_with_its_default_is_accepted_by_a_strict_parser_and_comes_back():
    registry = get_kafka_connection().registry
    codec = Codec(Everything, subject=f"everything-{uuid.uuid4().hex}", registry=registry)
    message = Everything(trees={"a": [Tree(value=1, branches=[Tree()]), None]})
    data = codec.encode(message)
    codec.load_schema(wire.schema_id_of(data) or 0)
    assert codec.decode(data) == message


def test_a_framed_message_travels_through_kafka(kafka, new_topic, monkeypatch):
    connect(kafka)
    monkeypatch.setattr(Order.Settings, "topic", new_topic(1))
    sent = Order(order_id="o-1", amount=2.5)
    sent.produce()
    got = wait_until(lambda: Order.consume_one(timeout=0.5), 30.0, "the order came")
    assert got == sent
