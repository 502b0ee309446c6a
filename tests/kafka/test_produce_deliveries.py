"""Producing on a real Kafka: each call knows what became of its own messages."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaException, Producer

from flowodm import (
    ConfigurationError,
    FlowBaseModel,
    ProducerError,
    connect,
    get_kafka_connection,
)
from flowodm.produce.deliveries import QUEUE_TIMEOUT
from support.brokers.records import read_all
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 30.0


class Order(FlowBaseModel):
    class Settings:
        topic = ""
        key_field = "order_id"

    order_id: str
    note: str = ""


@pytest.fixture
def topic(
    kafka: str, new_topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Make a topic the model's own and connect; returns its name."""

    def made(partitions: int = 1) -> str:
        name = new_topic(partitions)
        monkeypatch.setattr(Order.Settings, "topic", name)
        return name

    connect(kafka)
    return made


async def done(call: Callable[..., Any], *args: Any) -> Any:
    answer = call(*args)
    return await answer if asyncio.iscoroutine(answer) else answer


def keys_in(kafka: str, topic: str) -> list[str]:
    return [str(record.key(), "utf-8") for record in read_all(kafka, topic)]


async def test_when_aproduce_returns_the_broker_has_the_record(kafka, topic):
    name = topic()
    await Order(order_id="o-1").aproduce(TIMEOUT, headers={"trace": b"1"})
    (record,) = read_all(kafka, name)
    assert record.key() == b"o-1"
    assert record.headers() == [("trace", b"1")]


async def test_aproduce_many_returns_when_the_broker_has_all_in_order(kafka, topic):
    name = topic()
    ids = [str(i) for i in range(500)]
    assert await Order.aproduce_many(Order(order_id=i) for i in ids) == 500
    assert keys_in(kafka, name) == ids


async def test_calls_of_many_tasks_are_sent_in_the_order_of_their_start(kafka, topic):
    name = topic()
    ids = [str(i) for i in range(200)]
    await asyncio.gather(*(Order(order_id=i).aproduce(TIMEOUT) for i in ids))
    assert keys_in(kafka, name) == ids


@pytest.mark.parametrize("way", ["produce_many", "aproduce_many"])
async def test_what_is_too_large_is_listed_and_the_rest_is_there(kafka, topic, way):
    name = topic()
    connect(kafka, producer_config={"message.max.bytes": 1_000})
    messages = [Order(order_id=str(i), note="x" * (5_000 if i == 2 else 1)) for i in range(5)]
    with pytest.raises(ProducerError, match="1 of 5") as caught:
        await done(getattr(Order, way), messages)
    ((index, error),) = caught.value.failures
    assert index == 2
    assert isinstance(error.__cause__, KafkaException)
    assert sorted(keys_in(kafka, name)) == ["0", "1", "3", "4"]


@pytest.mark.parametrize("way", ["produce_many", "aproduce_many"])
async def test_a_full_local_queue_makes_them_wait(kafka, topic, way):
    name = topic()
    connect(kafka, producer_config={"queue.buffering.max.messages": 10})
    ids = [str(i) for i in range(300)]
    assert await done(getattr(Order, way), (Order(order_id=i) for i in ids)) == 300
    assert keys_in(kafka, name) == ids


async def test_partition_and_timestamp_are_the_given_ones(kafka, topic):
    name = topic(3)
    at = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    Order(order_id="a").produce(timeout=TIMEOUT, partition=2, timestamp=at)
    await Order(order_id="b").aproduce(TIMEOUT, partition=1, timestamp=at)
    found = {record.key(): record for record in read_all(kafka, name)}
    assert (found[b"a"].partition(), found[b"b"].partition()) == (2, 1)
    moment = round(at.timestamp() * 1000)
    assert {record.timestamp()[1] for record in found.values()} == {moment}


async def test_a_plain_producer_of_the_callers_own_serves_coroutines_too(kafka, topic, monkeypatch):
    name = topic()
    own = Producer({"bootstrap.servers": kafka, "log_level": 0})
    monkeypatch.setattr(Order, "get_producer", classmethod(lambda _cls: own))
    await Order(order_id="0").aproduce(TIMEOUT)
    ids = [str(i) for i in range(1, 100)]
    assert await Order.aproduce_many(Order(order_id=i) for i in ids) == 99
    Order.produce_many([Order(order_id="last")])
    assert keys_in(kafka, name) == ["0", *ids, "last"]


async def test_an_answer_that_does_not_come_is_an_error_in_time(monkeypatch):
    monkeypatch.setattr(Order.Settings, "topic", "anywhere")
    connect("127.0.0.1:1", producer_config={"log_level": 0})
    with pytest.raises(ProducerError, match="not confirmed"):
        await Order(order_id="x").aproduce(0.3)
    producer = get_kafka_connection().producer
    producer.purge()
    producer.flush(1)


@pytest.mark.parametrize(
    "said",
    [
        {"acks": 1},
        {"request.required.acks": "1"},
        {"retries": 0},
        {"max.in.flight": 10},
        {"enable.idempotence": False, "acks": 1},
    ],
)
def test_properties_that_idempotence_forbids_turn_it_off_unless_it_is_asked_for(kafka, said):
    connection = connect(kafka, producer_config=said)
    assert connection.producer_config()["enable.idempotence"] is False
    assert connection.producer is not None  # librdkafka takes it


def test_idempotence_that_is_asked_for_is_not_given_up(kafka):
    connection = connect(kafka, producer_config={"enable.idempotence": True, "acks": 1})
    with pytest.raises(ConfigurationError, match="acks"):
        _ = connection.producer


def test_producers_are_idempotent_unless_told_otherwise(kafka):
    assert connect(kafka).producer_config()["enable.idempotence"] is True
    config = connect(kafka, producer_config={"acks": -1, "retries": 5}).producer_config()
    assert config["enable.idempotence"] is True


def test_a_callback_may_send_but_not_wait_for_it(kafka, topic):
    name = topic()
    said: list[str] = []

    def send_more(_error: Any, _message: Any) -> None:
        for call in (Order(order_id="x").produce, lambda: Order.produce_many([])):
            with pytest.raises(ProducerError, match="produce_nowait") as caught:
                call()
            said.append(str(caught.value))
        Order(order_id="second").produce_nowait()

    Order(order_id="first").produce_nowait(send_more)
    wait_until(lambda: len(read_all(kafka, name)) == 2, TIMEOUT, "both are there")
    assert keys_in(kafka, name) == ["first", "second"]
    assert len(said) == 2


def test_a_callback_that_finds_the_queue_full_learns_it_at_once(kafka, topic):
    topic()
    connect(kafka, producer_config={"queue.buffering.max.messages": 2})
    outcome: list[Any] = []

    def send_more(_error: Any, _message: Any) -> None:
        if outcome:
            return
        outcome.append(None)
        try:
            for _ in range(20):
                Order(order_id="x").produce_nowait()
        except ProducerError as error:
            outcome.append(error)

    started = time.monotonic()
    Order(order_id="first").produce_nowait(send_more)
    wait_until(lambda: len(outcome) == 2, TIMEOUT, "the queue was full")
    assert "queue stays full" in str(outcome[1])
    assert time.monotonic() - started < QUEUE_TIMEOUT / 2
