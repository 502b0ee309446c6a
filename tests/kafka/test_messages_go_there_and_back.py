"""Typed messages through a real Kafka: bare Avro, keys, headers, commits."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import Field

from flowodm.connection import connect, get_kafka_connection
from flowodm.exceptions import DeserializationError, ProducerError
from flowodm.model import FlowBaseModel
from support.brokers.records import committed_offsets, read_all
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JOIN_TIMEOUT = 30.0


class Address(FlowBaseModel):
    street: str


class Order(FlowBaseModel):
    class Settings:
        topic = ""
        consumer_group = ""
        key_field = "order_id"

    order_id: str
    amount: float = 1.5
    lines: list[int] = Field(default_factory=list)
    notes: dict[str, str] = Field(default_factory=dict)
    address: Address | None = None
    at: datetime = datetime(2024, 1, 1, 0, 0, 0, 123_456, UTC)


@pytest.fixture(autouse=True)
def connected(
    kafka: str, new_topic: Callable[..., str], group: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    get_kafka_connection().reset()
    connect(kafka)
    monkeypatch.setattr(Order.Settings, "topic", new_topic(1))
    monkeypatch.setattr(Order.Settings, "consumer_group", group)
    yield
    get_kafka_connection().reset()


def next_order() -> Order:
    return wait_until(lambda: Order.consume_one(timeout=0.5), JOIN_TIMEOUT, "an order came")


def committed(kafka: str) -> int:
    settings = Order.Settings
    return committed_offsets(kafka, settings.consumer_group, settings.topic)[0]


def test_a_message_comes_back_equal():
    sent = Order(order_id="o-1", lines=[1, 2], notes={"a": "b"}, address=Address(street="s"))
    sent.produce()
    assert next_order() == sent


def test_when_produce_returns_the_broker_has_the_record(kafka):
    Order(order_id="o-1").produce(key="own", headers={"trace": b"1"})
    (record,) = read_all(kafka, Order.Settings.topic)
    assert record.key() == b"own"
    assert record.headers() == [("trace", b"1")]


def test_the_key_is_the_fields_value(kafka):
    Order(order_id="ö").produce()
    assert read_all(kafka, Order.Settings.topic)[0].key() == "ö".encode()


def test_each_message_is_committed_as_it_is_returned(kafka):
    Order.produce_many([Order(order_id=str(i)) for i in range(5)])
    for index in range(3):
        assert next_order().order_id == str(index)
        assert committed(kafka) == index + 1


def test_what_was_not_returned_comes_to_the_next_consumer(kafka):
    Order.produce_many([Order(order_id=str(i)) for i in range(3)])
    assert next_order().order_id == "0"
    get_kafka_connection().close_connection()
    assert next_order().order_id == "1"


def test_a_poison_record_raises_and_the_next_call_goes_on(kafka):
    producer = get_kafka_connection().producer
    producer.produce(Order.Settings.topic, b"\x01poison")
    producer.produce(Order.Settings.topic, None, key=b"tombstone")
    Order(order_id="good").produce()
    with pytest.raises(DeserializationError) as caught:
        next_order()
    assert (caught.value.topic, caught.value.offset) == (Order.Settings.topic, 0)
    assert next_order().order_id == "good"
    assert committed(kafka) == 3


def test_a_callback_comes_without_anybody_polling():
    told: list[Any] = []
    Order(order_id="o-1").produce_nowait(lambda error, message: told.append((error, message)))
    wait_until(lambda: told, 10.0, "the callback was called")
    error, message = told[0]
    assert error is None
    assert message.topic() == Order.Settings.topic


def test_a_message_that_the_broker_refuses_is_an_error(new_topic, monkeypatch):
    monkeypatch.setattr(Order.Settings, "topic", new_topic(1, {"max.message.bytes": "1000"}))
    with pytest.raises(ProducerError, match=Order.Settings.topic):
        Order(order_id="x" * 5_000).produce()


def test_a_broker_that_is_not_there_is_an_error_in_time():
    connect("127.0.0.1:1", producer_config={"log_level": 0})
    started = time.monotonic()
    with pytest.raises(ProducerError, match="not confirmed"):
        Order(order_id="x").produce(timeout=0.5)
    assert time.monotonic() - started < 5
    producer = get_kafka_connection().producer
    producer.purge()
    producer.flush(1)
