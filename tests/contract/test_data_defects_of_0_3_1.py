"""What flowodm 0.3.1 got wrong about data: a test for each defect, with the calls of a program.

Kafka is in memory; the schema registry is real, behind a proxy that counts and misbehaves. What
these defects mean in every corner is tested beside the module that each concerns.
"""

from __future__ import annotations

import dataclasses
import threading
import time
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError
from pydantic import Field

from flowodm import (
    BaseSettings,
    ConsumerLoop,
    DeserializationError,
    FlowBaseModel,
    MessageContext,
    ProducerError,
    RegistryUnavailableError,
    check_compatibility,
    connect,
    consumer_loop,
    generate_model_from_schema,
    get_consumer,
    get_kafka_connection,
    get_producer,
)
from flowodm.events import Outcome
from flowodm.testing import InMemoryKafka, Record, RegistryProxy, poison, run_loop, tombstone

if TYPE_CHECKING:
    from collections.abc import Iterator


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "shipping"
        key_field = "order_id"

    order_id: str
    amount: float = 1.0


def settings(topic: str) -> type:
    return type("Settings", (), {"topic": topic, "consumer_group": "shipping"})


@pytest.fixture
def topic() -> str:
    return f"orders-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def proxy(registry: str) -> Iterator[RegistryProxy]:
    with RegistryProxy(registry) as proxy:
        yield proxy


@pytest.fixture
def kafka() -> Iterator[InMemoryKafka]:
    with InMemoryKafka() as kafka:
        yield kafka


@pytest.fixture
def framed(proxy: RegistryProxy) -> Iterator[InMemoryKafka]:
    with InMemoryKafka(schema_registry_url=proxy.url) as kafka:
        yield kafka


def old_order(topic: str) -> type[FlowBaseModel]:
    class Order(FlowBaseModel):
        Settings = settings(topic)

        amount: float
        note: str

    return Order


def new_order(topic: str) -> type[FlowBaseModel]:
    """The same after a field with a default was added in front of the others."""

    class Order(FlowBaseModel):
        Settings = settings(topic)

        currency: str = "EUR"
        amount: float
        note: str

    return Order


def needy_order(topic: str) -> type[FlowBaseModel]:
    """The same after a field without a default was added."""

    class Order(FlowBaseModel):
        Settings = settings(topic)

        amount: float
        note: str
        wanted: str

    return Order


# ---- 4 to 7, 17: schemas on the wire


def test_4_an_old_record_is_read_by_the_schema_of_its_own_id(framed, topic):
    old, new = old_order(topic), new_order(topic)
    old(amount=1.5, note="first").produce()
    new(amount=2.5, note="second", currency="CHF").produce()

    first, second = new.consume_batch(2, timeout=10.0)
    assert first == new(amount=1.5, note="first", currency="EUR")
    assert second == new(amount=2.5, note="second", currency="CHF")


def test_5_a_record_is_written_with_the_schema_of_the_id_in_its_header(framed, topic):
    old, new = old_order(topic), new_order(topic)
    new(amount=2.5, note="n").produce()
    old(amount=1.5, note="n").produce()

    ids = [int.from_bytes(record.value()[1:5], "big") for record in framed.records(topic)]
    registry = get_kafka_connection().registry
    fields = [[field["name"] for field in registry.schema(id_)["fields"]] for id_ in ids]
    assert fields == [["currency", "amount", "note"], ["amount", "note"]]


def test_6_a_registry_that_does_not_answer_fails_the_call_and_nothing_is_written(
    framed, proxy, topic
):
    old = old_order(topic)
    with proxy.answer(503), pytest.raises(RegistryUnavailableError):
        old(amount=1.5, note="n").produce()
    assert framed.records(topic) == []
    old(amount=1.5, note="n").produce()
    assert len(framed.records(topic)) == 1


def test_7_a_record_that_begins_with_a_zero_byte_keeps_its_five_bytes(kafka, topic):
    class Counted(FlowBaseModel):
        Settings = settings(topic)

        n: int
        text: str

    sent = Counted(n=0, text="more than five bytes")
    sent.produce()
    (record,) = kafka.records(topic)
    assert record.value()[0] == 0
    assert Counted.consume_one(timeout=5.0) == sent


def test_17_a_schema_is_asked_for_once_and_not_once_a_record(framed, proxy, topic):
    old, new = old_order(topic), new_order(topic)
    old.produce_many([old(amount=float(n), note="n") for n in range(50)])
    new.produce_many([new(amount=float(n), note="n") for n in range(50)])
    before = len(proxy.requests)
    clients = get_kafka_connection()._clients
    assert clients.registry is not None
    clients.registry.close()
    clients.registry = None  # as in a process that has written nothing

    assert len(new.consume_batch(100, timeout=10.0)) == 100
    asked = [request.path for request in proxy.requests[before:]]
    assert len(asked) == len(set(asked)) == 2


# ---- 10, 11, 12, 13: records that are lost without a word


def test_10_a_tombstone_reaches_who_asks_for_it_and_is_counted_otherwise():
    seen: list[Any] = []

    def gone(context: MessageContext) -> None:
        seen.append(context.key)

    handler = [].append
    asked = ConsumerLoop(Order, handler, tombstone_handler=gone)
    assert [fate.outcome for fate in run_loop(asked, [tombstone("k")]).fates] == [Outcome.PROCESSED]
    assert seen == [b"k"]
    plain = ConsumerLoop(Order, handler)
    assert [fate.outcome for fate in run_loop(plain, [tombstone("k")]).fates] == [Outcome.TOMBSTONE]


@pytest.mark.parametrize(
    "consume",
    [
        lambda: Order.consume_one(timeout=5.0),
        lambda: Order.consume_batch(5, timeout=5.0),
        lambda: list(Order.consume_iter(max_messages=5, timeout=5.0)),
    ],
    ids=["one", "batch", "iter"],
)
def test_11_a_poison_record_is_raised_and_not_swallowed(kafka, consume):
    kafka.append("orders", poison())
    with pytest.raises(DeserializationError, match=r"topic orders, partition 0, offset 0"):
        consume()
    assert kafka.committed("shipping", "orders") == {}


def test_12_a_message_that_was_not_delivered_is_an_error_of_produce_many(kafka):
    kafka.refuse("orders")
    with pytest.raises(ProducerError, match="2 of 2 messages"):
        Order.produce_many([Order(order_id="1"), Order(order_id="2")])


async def test_12_aproduce_awaits_the_brokers_answer(kafka):
    kafka.refuse("orders", KafkaError.MSG_SIZE_TOO_LARGE)
    with pytest.raises(ProducerError):
        await Order(order_id="1").aproduce()


def test_13_a_producers_retries_neither_repeat_nor_reorder():
    connect(bootstrap_servers="127.0.0.1:1")
    config = get_kafka_connection().producer_config()
    assert config["enable.idempotence"] is True


# ---- 14 to 16: types


class Colour(Enum):
    RED = "red"


class Line(FlowBaseModel):
    sku: str
    price: Decimal = Field(max_digits=10, decimal_places=2)


def test_14_every_type_comes_back_as_what_it_was(kafka, topic):
    class Everything(FlowBaseModel):
        Settings = settings(topic)

        maybe: int | None
        names: list[str]
        counts: dict[str, int]
        line: Line
        lines: list[Line]
        price: Decimal = Field(max_digits=10, decimal_places=2)
        id: uuid.UUID
        day: date
        colour: Colour

    line = Line(sku="s", price=Decimal("1.50"))
    sent = Everything(
        maybe=None,
        names=["a"],
        counts={"a": 1},
        line=line,
        lines=[line, line],
        price=Decimal("12.34"),
        id=uuid.uuid4(),
        day=date(2024, 2, 29),
        colour=Colour.RED,
    )
    sent.produce()
    got = Everything.consume_one(timeout=5.0)
    assert got == sent
    assert [type(value) for _, value in got] == [type(value) for _, value in sent]


def test_15_a_time_is_the_same_instant_to_the_microsecond(kafka, topic, monkeypatch):
    class Event(FlowBaseModel):
        Settings = settings(topic)

        at: datetime

    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        instant = datetime(2024, 7, 1, 12, 0, 0, 123_457, UTC)
        for at in (
            instant,
            instant.replace(tzinfo=None),
            instant.astimezone(timezone(timedelta(hours=5, minutes=30))),
        ):
            Event(at=at).produce()
        got = [event.at for event in Event.consume_batch(3, timeout=5.0)]
        assert got == [instant] * 3
        assert {at.tzinfo for at in got} == {UTC}
    finally:
        monkeypatch.undo()
        time.tzset()


def test_16_a_generated_model_keeps_arrays_enums_and_records(kafka, topic):
    line = {"type": "record", "name": "Line", "fields": [{"name": "sku", "type": "string"}]}
    colour = {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}
    schema = {
        "type": "record",
        "name": "Basket",
        "fields": [
            {"name": "lines", "type": {"type": "array", "items": line}},
            {"name": "colour", "type": colour},
            {"name": "tags", "type": {"type": "map", "values": "long"}},
        ],
    }
    basket = generate_model_from_schema(schema, topic, consumer_group="shipping")
    sent = basket.model_validate({"lines": [{"sku": "s"}], "colour": "BLUE", "tags": {"a": 1}})
    sent.produce()
    got: Any = basket.consume_one(timeout=5.0)
    assert got == sent
    assert (got.lines[0].sku, got.colour.value, got.tags) == ("s", "BLUE", {"a": 1})


# ---- 20, 28 to 34: clients, settings, documented calls


def test_20_a_consumer_that_was_closed_is_made_anew(kafka):
    Order(order_id="1").produce()
    get_consumer("shipping", ["orders"], BaseSettings()).close()
    Order.get_consumer().close()
    assert Order.consume_one(timeout=5.0) == Order(order_id="1")


def test_28_threads_that_come_at_once_get_the_same_clients():
    connect(bootstrap_servers="127.0.0.1:1", producer_config={"log_level": 0})
    barrier = threading.Barrier(8)
    found: list[Any] = []

    def ask() -> None:
        barrier.wait()
        found.append((get_producer(), get_consumer("g", ["t"])))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(producer) for producer, _ in found}) == 1
    assert len({id(consumer) for _, consumer in found}) == 1


def test_29_every_field_of_a_profile_has_an_effect_on_a_loop():
    connect(bootstrap_servers="127.0.0.1:1")
    plain = _what_a_loop_does_with(BaseSettings())
    changed = {
        "session_timeout_ms": 50_000,
        "heartbeat_interval_ms": 1_000,
        "max_poll_interval_ms": 400_000,
        "max_poll_records": 3,
        "auto_offset_reset": "latest",
        "extra_config": {"fetch.min.bytes": 7},
    }
    for name, value in changed.items():
        assert _what_a_loop_does_with(BaseSettings(**{name: value})) != plain, name
    # A loop commits by itself: this one is for consumers that somebody else polls.
    assert _what_a_loop_does_with(BaseSettings(enable_auto_commit=True)) == plain
    assert BaseSettings(enable_auto_commit=True).to_consumer_config()["enable.auto.commit"] is True


def _what_a_loop_does_with(profile: BaseSettings) -> Any:
    source = ConsumerLoop(Order, [].append, profile).options.source()
    return dataclasses.replace(source, config={**source.config, "logger": None})


def test_30_every_documented_call_works(kafka):
    seen: list[str] = []

    @consumer_loop(Order)
    def ship(order: Order) -> None:
        seen.append(order.order_id)
        ship.stop()

    connect(producer_config={"linger.ms": 1}, consumer_config={"fetch.min.bytes": 1})
    Order(order_id="1").produce(key="own")
    ship()
    assert seen == ["1"]
    assert [order.order_id for order in Order.consume_iter(0.1, "g", max_messages=1)] == ["1"]
    assert get_consumer("g") is get_consumer("g")
    assert Order(order_id="1").to_avro_dict() == {"order_id": "1", "amount": 1.0}


def test_31_a_settings_subclass_without_the_decorator_is_heard():
    class Patient(BaseSettings):
        session_timeout_ms = 100_000

    assert Patient().session_timeout_ms == 100_000
    assert Patient().to_consumer_config()["session.timeout.ms"] == 100_000


def test_32_an_iteration_with_a_time_out_ends(kafka):
    Order(order_id="1").produce()
    assert len(list(Order.consume_iter(timeout=0.05))) == 1


def test_33_check_compatibility_answers_for_the_level_that_it_is_given(framed, topic):
    old, new = old_order(topic), new_order(topic)
    old.register_schema()

    subject = f"{topic}-value"
    levels = {
        level: check_compatibility(needy_order(topic), subject, level).is_compatible
        for level in ("BACKWARD", "FORWARD", "FULL", "NONE")
    }
    assert levels == {"BACKWARD": False, "FORWARD": True, "FULL": False, "NONE": True}
    assert check_compatibility(new, subject, "FULL").is_compatible


def test_34_a_handler_sees_key_headers_and_offset_and_connect_takes_tls():
    seen: list[Any] = []

    def handle(order: Order, context: MessageContext) -> None:
        seen.append((context.key, context.header("trace"), context.offset, context.partition))

    given = Record(Order(order_id="1"), key="k", headers=(("trace", b"t"),))
    run_loop(ConsumerLoop(Order, handle), [given])
    assert seen == [(b"k", b"t", 0, 0)]

    connect("127.0.0.1:1", security_protocol="SSL", ssl_ca_location="ca.pem")
    assert get_kafka_connection().producer_config()["ssl.ca.location"] == "ca.pem"
