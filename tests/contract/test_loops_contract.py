"""The loops and their decorators: arguments in 0.3.1's order, defaults, errors, plain functions."""

from __future__ import annotations

import inspect

import pytest

from flowodm import (
    AsyncConsumerLoop,
    ConsumerLoop,
    FlowBaseModel,
    LongRunningSettings,
    RealTimeSettings,
    async_consumer_loop,
    connect,
    consumer_loop,
)
from flowodm.consumer.engine.commit import CommitStrategy
from flowodm.testing import InMemoryKafka
from support.signatures import REQUIRED, assert_takes

START = {
    "model": REQUIRED,
    "handler": REQUIRED,
    "settings": None,
    "group_id": None,
    "error_handler": None,
    "on_startup": None,
    "on_shutdown": None,
}
END = {
    "commit_strategy": "before_processing",
    "max_retries": 0,
    "retry_delay": 1.0,
    "poll_timeout": 1.0,
}
DECORATOR = {"model": REQUIRED, "settings": None}


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "shipping"

    order_id: str


def handle(order: Order) -> None:
    pass


async def ahandle(order: Order) -> None:
    pass


BOTH = pytest.mark.parametrize(
    ("loop", "handler"), [(ConsumerLoop, handle), (AsyncConsumerLoop, ahandle)]
)


@pytest.fixture(autouse=True)
def connected() -> None:
    connect(bootstrap_servers="127.0.0.1:1")


def test_the_arguments_of_the_plain_loop_are_where_they_were():
    assert_takes(ConsumerLoop, {**START, **END})


def test_the_asynchronous_loop_has_max_concurrent_before_commit_strategy():
    assert_takes(AsyncConsumerLoop, {**START, "max_concurrent": 10, **END})


@pytest.mark.parametrize("decorator", [consumer_loop, async_consumer_loop])
def test_the_decorators_take_a_model_a_profile_and_the_loop_s_arguments(decorator):
    assert_takes(decorator, DECORATOR)


def test_one_runs_and_the_other_is_awaited():
    assert not inspect.iscoroutinefunction(ConsumerLoop.run)
    assert inspect.iscoroutinefunction(AsyncConsumerLoop.run)
    assert_takes(ConsumerLoop.run, {})
    assert_takes(AsyncConsumerLoop.run, {})
    assert_takes(ConsumerLoop.stop, {})
    assert_takes(AsyncConsumerLoop.stop, {})


@BOTH
def test_the_profile_is_for_long_handlers_unless_another_is_given(loop, handler):
    assert loop(Order, handler).settings == LongRunningSettings()
    assert loop(Order, handler, RealTimeSettings()).settings == RealTimeSettings()


@BOTH
def test_the_group_is_the_model_s_unless_another_is_given(loop, handler):
    assert loop(Order, handler).options.group == "shipping"
    assert loop(Order, handler, None, "another").options.group == "another"


@BOTH
def test_what_a_loop_was_made_with_can_be_read_from_it(loop, handler):
    made = loop(Order, handler, None, "another", max_retries=3, retry_delay=2.0, poll_timeout=0.5)
    assert (made.model, made.handler, made.group_id) == (Order, handler, "another")
    assert (made.max_retries, made.retry_delay, made.poll_timeout) == (3, 2.0, 0.5)
    assert (made.error_handler, made.commit_strategy) == (None, "before_processing")
    assert made.max_concurrent == (10 if loop is AsyncConsumerLoop else 1)


@BOTH
@pytest.mark.parametrize("word", ["before_processing", "after_processing"])
def test_both_commit_strategies_are_known(loop, handler, word):
    made = loop(Order, handler, commit_strategy=word)
    assert made.options.commit_strategy is CommitStrategy(word)


@BOTH
def test_an_unknown_commit_strategy_is_a_value_error(loop, handler):
    with pytest.raises(ValueError, match="commit_strategy"):
        loop(Order, handler, commit_strategy="whenever")


def test_what_a_decorator_returns_is_called_to_run_and_has_run_and_stop():
    with InMemoryKafka():
        Order(order_id="1").produce()

        @consumer_loop(Order, max_retries=2)
        def ship(order: Order) -> None:
            """Ship it."""
            shipped.append(order.order_id)
            ship.stop()

        shipped: list[str] = []
        ship()
        Order(order_id="2").produce()
        ship.run()

    assert shipped == ["1", "2"]
    assert isinstance(ship, ConsumerLoop)


async def test_what_the_asynchronous_decorator_returns_is_awaited_to_run():
    with InMemoryKafka():
        await Order(order_id="1").aproduce()

        @async_consumer_loop(Order, max_concurrent=2)
        async def ship(order: Order) -> None:
            shipped.append(order.order_id)
            ship.stop()

        shipped: list[str] = []
        await ship()
        await Order(order_id="2").aproduce()
        await ship.run()

    assert shipped == ["1", "2"]
    assert isinstance(ship, AsyncConsumerLoop)


def test_a_test_still_reaches_the_plain_function():
    @consumer_loop(Order)
    def ship(order: Order) -> str:
        """Ship it."""
        return order.order_id

    assert ship.handler(Order(order_id="1")) == "1"
    assert ship.__wrapped__(Order(order_id="2")) == "2"
    assert (ship.__name__, ship.__doc__) == ("ship", "Ship it.")


async def test_a_test_still_reaches_the_plain_coroutine_function():
    @async_consumer_loop(Order)
    async def ship(order: Order) -> str:
        return order.order_id

    assert await ship.handler(Order(order_id="1")) == "1"
    assert await ship.__wrapped__(Order(order_id="2")) == "2"
