"""FlowBaseModel: signatures, defaults, Settings, and the documented calls that 0.3.1 broke."""

from __future__ import annotations

import inspect
from typing import Any

import pydantic
import pytest

from flowodm import FlowBaseModel, SettingsError, connect
from flowodm.connection import get_kafka_connection
from flowodm.model_settings import settings_of
from flowodm.testing import InMemoryKafka
from support.signatures import REQUIRED, assert_takes

ONE = {"timeout": 1.0, "group_id": None, "settings": None}
# 0.3.1 ignored an iteration's time-out and never ended; a program that gives none still goes on.
ITER = {**ONE, "timeout": None}
BATCH = {"max_messages": REQUIRED, **ONE}
SIGNATURES: dict[str, dict[str, Any]] = {
    "produce": {"callback": None, "timeout": 10.0},
    "produce_nowait": {"callback": None},
    "produce_many": {"messages": REQUIRED, "flush": True},
    "aproduce": {},
    "aproduce_many": {"messages": REQUIRED},
    "consume_one": ONE,
    "consume_iter": ITER,
    "consume_batch": BATCH,
    "aconsume_one": ONE,
    "aconsume_iter": ITER,
    "aconsume_batch": BATCH,
    "register_schema": {},
    "to_avro_dict": {},
    "get_producer": {},
    "get_consumer": {"group_id": None, "settings": None},
    "get_async_producer": {},
    "get_async_consumer": {"group_id": None, "settings": None},
}
AWAITED = [
    "aproduce",
    "aproduce_many",
    "aconsume_one",
    "aconsume_batch",
    "get_async_producer",
    "get_async_consumer",
]


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "shipping"
        key_field = "order_id"

    order_id: str
    amount: float = 1.0


@pytest.fixture
def kafka_in_memory():
    with InMemoryKafka() as kafka:
        yield kafka


@pytest.mark.parametrize(("name", "wanted"), SIGNATURES.items())
def test_a_call_by_position_or_name_means_the_same(name, wanted):
    assert_takes(getattr(Order, name), wanted)


@pytest.mark.parametrize("name", AWAITED)
def test_it_is_awaited(name):
    assert inspect.iscoroutinefunction(getattr(Order, name))


def test_a_model_is_a_pydantic_model_that_refuses_what_it_does_not_know():
    assert issubclass(Order, pydantic.BaseModel)
    assert Order.model_config["extra"] == "forbid"
    assert Order.model_config["populate_by_name"] is True
    with pytest.raises(pydantic.ValidationError):
        Order(order_id="1", colour="red")


def test_an_alias_and_the_field_s_name_are_both_taken():
    class Aliased(FlowBaseModel):
        total: float = pydantic.Field(alias="totalPrice")

    assert Aliased(total=1.0) == Aliased(totalPrice=1.0)


def test_what_settings_leave_out_has_the_documented_value():
    class Plain(FlowBaseModel):
        class Settings:
            topic = "plain"

        n: int

    own = settings_of(Plain)
    assert own.schema_subject == "plain-value"
    assert own.schema_path is None
    assert own.consumer_group is None
    assert own.key_field is None
    assert (own.key_serializer, own.value_serializer) == ("string", "avro")
    assert own.confluent_wire_format is True


def test_settings_may_derive_from_those_of_the_base_class():
    class Derived(FlowBaseModel):
        class Settings(FlowBaseModel.Settings):
            topic = "derived"

        n: int

    assert settings_of(Derived).topic == "derived"


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model(n=1).produce(),
        lambda model: model.consume_one(),
        lambda model: model.consume_batch(1),
        lambda model: next(iter(model.consume_iter())),
        lambda model: model.register_schema(),
    ],
    ids=["produce", "consume_one", "consume_batch", "consume_iter", "register_schema"],
)
def test_a_missing_topic_is_an_error_on_use_that_names_the_class(use):
    class Nowhere(FlowBaseModel):
        n: int

    with pytest.raises(SettingsError, match="Nowhere has no topic"):
        use(Nowhere)


def test_a_missing_group_is_an_error_that_says_how_to_give_one():
    class Groupless(FlowBaseModel):
        class Settings:
            topic = "t"

        n: int

    with pytest.raises(SettingsError, match="Groupless has no consumer group: give group_id"):
        Groupless.consume_one()


def test_what_is_produced_is_consumed(kafka_in_memory):
    Order(order_id="1").produce()
    assert Order.produce_many([Order(order_id="2"), Order(order_id="3")]) == 2
    Order(order_id="4").produce_nowait()

    assert Order.consume_one(timeout=5.0) == Order(order_id="1")
    assert Order.consume_batch(2, timeout=5.0) == [Order(order_id="2"), Order(order_id="3")]
    assert [order.order_id for order in Order.consume_iter(max_messages=1, timeout=5.0)] == ["4"]
    assert kafka_in_memory.committed("shipping", "orders") == {0: 4}


async def test_what_is_produced_is_consumed_by_coroutines_too(kafka_in_memory):
    await Order(order_id="1").aproduce()
    assert await Order.aproduce_many([Order(order_id="2"), Order(order_id="3")]) == 2

    assert await Order.aconsume_one(timeout=5.0) == Order(order_id="1")
    assert await Order.aconsume_batch(1, timeout=5.0) == [Order(order_id="2")]
    got = [order async for order in Order.aconsume_iter(max_messages=1, timeout=5.0)]
    assert got == [Order(order_id="3")]
    assert kafka_in_memory.committed("shipping", "orders") == {0: 3}


def test_produce_takes_a_key(kafka_in_memory):
    Order(order_id="1").produce(key="own")
    (record,) = kafka_in_memory.records("orders")
    assert record.key() == b"own"


def test_produce_takes_its_time_out_as_0_3_1_did(kafka_in_memory):
    Order(order_id="1").produce(5.0)
    Order(order_id="2").produce(timeout=5.0)
    assert len(kafka_in_memory.records("orders")) == 2


def test_consume_iter_ends_when_nothing_comes(kafka_in_memory):
    Order(order_id="1").produce()
    assert list(Order.consume_iter(timeout=0.1)) == [Order(order_id="1")]


def test_consume_iter_takes_its_arguments_by_position_as_0_3_1_did(kafka_in_memory):
    Order(order_id="1").produce()
    assert len(list(Order.consume_iter(0.1, "another group"))) == 1
    assert kafka_in_memory.committed("another group", "orders") == {0: 1}


def test_to_avro_dict_shows_what_avro_holds():
    assert Order(order_id="1").to_avro_dict() == {"order_id": "1", "amount": 1.0}


def test_a_class_may_bring_its_own_clients(kafka_in_memory):
    asked = []

    class Own(Order):
        @classmethod
        def get_producer(cls):
            asked.append("producer")
            return super().get_producer()

        @classmethod
        def get_consumer(cls, group_id=None, settings=None):
            asked.append("consumer")
            return super().get_consumer(group_id, settings)

    Own(order_id="1").produce()
    assert Own.consume_one(timeout=5.0) == Own(order_id="1")
    assert asked == ["producer", "consumer"]


async def test_a_class_may_bring_its_own_clients_for_coroutines(kafka_in_memory):
    asked = []

    class Own(Order):
        @classmethod
        async def get_async_consumer(cls, group_id=None, settings=None):
            asked.append("consumer")
            return await super().get_async_consumer(group_id, settings)

    await Own(order_id="1").aproduce()
    assert await Own.aconsume_one(timeout=5.0) == Own(order_id="1")
    assert [order async for order in Own.aconsume_iter(timeout=0.1)] == []
    assert asked == ["consumer", "consumer"]


def test_a_consumer_of_the_class_s_own_is_not_closed(kafka_in_memory):
    connection = get_kafka_connection()
    own = kafka_in_memory.consumer(connection.consumer_config("g"))
    own.subscribe(["orders"])

    class Own(Order):
        @classmethod
        def get_consumer(cls, group_id=None, settings=None):
            return own

    Own(order_id="1").produce()
    assert len(list(Own.consume_iter(timeout=0.1))) == 1
    assert own.closed is False
    own.close()


def test_connect_may_be_told_again_between_two_calls():
    connect(bootstrap_servers="127.0.0.1:1", consumer_config={"log_level": 0})
    assert Order.consume_one(timeout=0.0) is None
    connect(bootstrap_servers="127.0.0.1:2")
    assert Order.consume_one(timeout=0.0) is None
