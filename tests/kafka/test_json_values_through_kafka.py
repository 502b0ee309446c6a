"""JSON values on a real Kafka and registry: plain and framed, produced and handled."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from pydantic import Field

from flowodm import ConsumerLoop, FlowBaseModel, SchemaRegistryError, connect
from flowodm.avro import wire
from flowodm.exceptions import SchemaCompatibilityError
from flowodm.serialization.codecs import codec_for
from support.brokers.records import Raw, produce, read_all
from support.loops import PATIENCE
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ORDER = {"orderId": "o-1", "lines": [{"sku": "a", "count": 2}], "note": None}


class Line(FlowBaseModel):
    sku: str
    count: int = 1


class Order(FlowBaseModel):
    class Settings:
        topic = ""
        consumer_group = ""
        value_serializer = "json"

    order_id: str = Field(alias="orderId")
    lines: list[Line] = Field(default_factory=list)
    note: str | None = None


@pytest.fixture
def client(registry: str) -> Iterator[SchemaRegistryClient]:
    with closing(SchemaRegistryClient({"url": registry})) as client:
        yield client


@pytest.fixture
def topic(
    kafka: str, new_topic: Callable[..., str], group: str, monkeypatch: pytest.MonkeyPatch
) -> str:
    name = new_topic(1)
    monkeypatch.setattr(Order.Settings, "topic", name)
    monkeypatch.setattr(Order.Settings, "consumer_group", group)
    return name


def schema_of(required: list[str]) -> Schema:
    """A JSON Schema that is not the model's own."""
    own = {"properties": {key: {"type": "string"} for key in required}, "required": required}
    dialect = "http://json-schema.org/draft-07/schema#"
    return Schema(json.dumps({"$schema": dialect, "type": "object", **own}), "JSON")


def values(kafka: str, topic: str) -> list[Any]:
    return [record.value() for record in read_all(kafka, topic)]


def test_without_a_registry_records_are_plain_json_and_come_back_equal(kafka, topic):
    connect(kafka)
    order = Order(**ORDER)
    order.produce()
    assert [json.loads(value) for value in values(kafka, topic)] == [ORDER]
    assert wait_until(lambda: Order.consume_one(timeout=0.5), PATIENCE, "it came") == order


def test_a_loop_handles_json_from_anybody_and_judges_what_is_none(kafka, topic):
    connect(kafka)
    produce(kafka, topic, [b'{"orderId": "o-1"}', b"\xff", b"{}", b'{"orderId": "o-2"}'])
    handled, failed = [], []

    def handle(order: Order) -> None:
        handled.append(order.order_id)
        if order.order_id == "o-2":
            loop.stop()

    loop = ConsumerLoop(
        Order,
        handle,
        error_handler=lambda error, *_record: failed.append(str(error)),
        handle_signals=False,
    )
    loop.run()
    assert handled == ["o-1", "o-2"]
    assert len(failed) == 2
    assert "offset 1" in failed[0]
    assert "field orderId" in failed[1]


def test_with_a_registry_a_record_carries_the_id_of_the_models_json_schema(
    kafka, registry, client, topic
):
    connect(kafka, schema_registry_url=registry)
    order = Order(**ORDER)
    order.produce()
    (value,) = values(kafka, topic)
    schema_id = wire.schema_id_of(value)
    assert json.loads(value[wire.HEADER_SIZE :]) == ORDER

    stored = client.get_version(f"{topic}-value", "latest")
    assert stored.schema_id == schema_id == Order.register_schema()
    assert stored.schema.schema_type == "JSON"
    assert json.loads(stored.schema.schema_str)["required"] == ["orderId"]

    produce(kafka, topic, [Raw(json.dumps(ORDER).encode())])  # and plain ones beside it
    for _ in range(2):
        assert wait_until(lambda: Order.consume_one(timeout=0.5), PATIENCE, "it came") == order


def test_a_schema_that_may_not_be_registered_has_to_be_there(kafka, registry, topic, monkeypatch):
    connect(kafka, schema_registry_url=registry)
    monkeypatch.setattr(Order.Settings, "auto_register", False, raising=False)
    with pytest.raises(SchemaRegistryError, match=f"{topic}-value"):
        Order(**ORDER).produce()
    assert values(kafka, topic) == []

    schema_id = Order.register_schema()
    Order(**ORDER).produce()
    assert wire.schema_id_of(values(kafka, topic)[0]) == schema_id


def test_the_latest_version_may_be_the_one_whose_id_is_written(
    kafka, registry, client, topic, monkeypatch
):
    connect(kafka, schema_registry_url=registry)
    monkeypatch.setattr(Order.Settings, "use_latest_version", True, raising=False)
    schema_id = client.register_schema(f"{topic}-value", schema_of(["orderId"]))
    Order(**ORDER).produce()
    assert wire.schema_id_of(values(kafka, topic)[0]) == schema_id


class WithMore(Order):
    where: tuple[float, int] = (0.0, 0)


class WithLess(Order):
    lines: None = None  # type: ignore[assignment]  # what no record of the first version has


def test_a_version_that_reads_older_records_is_accepted_and_another_one_is_not(
    kafka, registry, topic, client
):
    connect(kafka, schema_registry_url=registry)
    client.set_compatibility(f"{topic}-value", "BACKWARD")
    Order(**ORDER).produce()
    WithMore(**ORDER, where=(1.5, 2)).produce()
    with pytest.raises(SchemaCompatibilityError, match=f"{topic}-value"):
        WithLess(orderId="x").produce()
    first, second = values(kafka, topic)
    assert wire.schema_id_of(first) != wire.schema_id_of(second)
    assert codec_for(WithMore).decode(first).where == (0.0, 0)


def test_an_avro_record_in_a_json_topic_is_a_bad_record(kafka, registry, topic):
    connect(kafka, schema_registry_url=registry)

    class Avro(FlowBaseModel):
        class Settings:
            pass

        order_id: str

    Avro.Settings.topic = topic
    Avro(order_id="x").produce()
    (value,) = values(kafka, topic)
    with pytest.raises(Exception, match="Invalid JSON") as caught:
        codec_for(Order).decode(value)
    assert caught.value.schema_id == wire.schema_id_of(value)
