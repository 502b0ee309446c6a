"""A loop refuses what cannot work when it is made, and says what to write instead."""

from __future__ import annotations

import functools
import inspect
import math
import re
from unittest.mock import Mock

import pytest

from flowodm import (
    AsyncConsumerLoop,
    ConfigurationError,
    ConsumerLoop,
    FlowBaseModel,
    LongRunningSettings,
    RealTimeSettings,
    SettingsError,
    async_consumer_loop,
    connect,
    consumer_loop,
)
from flowodm.connection import get_kafka_connection
from flowodm.consumer.engine.commit import CommitStrategy
from flowodm.consumer.engine.lanes import Ordering
from flowodm.consumer.engine.retry import OnFailure

LOOPS = [ConsumerLoop, AsyncConsumerLoop]


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "order-processor"

    order_id: str


def handler(order: Order) -> None:
    """Handle an order."""


async def async_handler(order: Order) -> None:
    """Handle an order, sometime."""


@pytest.fixture(autouse=True)
def _connection():
    connect(bootstrap_servers="127.0.0.1:1")
    yield
    get_kafka_connection().reset()


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize(
    ("name", "value", "choices"),
    [
        ("commit_strategy", "sometimes", "'before_processing', 'after_processing'"),
        ("ordering", "random", "'partition', 'key', 'unordered'"),
        ("on_failure", "pray", "'skip', 'stop'"),
    ],
)
def test_an_unknown_choice_is_a_value_error_that_lists_the_choices(kind, name, value, choices):
    with pytest.raises(ValueError, match=f"{name} must be one of {choices}"):
        kind(Order, handler, **{name: value})


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"max_retries": -1},
        {"retry_delay": -0.1},
        {"max_concurrent": 0},
        {"poll_timeout": 0},
        {"commit_interval": 0},
        {"commit_ahead": -1},
        {"drain_timeout": -1},
        {"partitions": []},
        {"partitions": [1, 1]},
    ],
)
def test_a_number_out_of_its_range_is_a_value_error_that_names_it(kind, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(Order, handler, **wrong)


@pytest.mark.parametrize("key", ["enable.auto.commit", "group.id", "group.instance.id"])
def test_what_belongs_to_the_loop_cannot_be_set_behind_its_back(key):
    with pytest.raises(SettingsError, match="use "):
        ConsumerLoop(Order, handler, consumer_config={key: "x"})


@pytest.mark.parametrize(
    "function", [async_handler, functools.partial(async_handler)], ids=["plain", "partial"]
)
def test_a_coroutine_function_is_refused_by_the_sync_loop(function):
    with pytest.raises(ConfigurationError, match="use AsyncConsumerLoop"):
        ConsumerLoop(Order, function)


def test_a_model_without_a_group_is_a_configuration_error_that_names_the_way_out():
    class Nameless(FlowBaseModel):
        class Settings:
            topic = "orders"

    loop = ConsumerLoop(Nameless, handler)

    with pytest.raises(ConfigurationError, match="Nameless has no consumer group: set consumer_gr"):
        loop.run()


def test_a_profile_with_auto_commit_runs_without_it():
    loop = ConsumerLoop(Order, handler, settings=RealTimeSettings())

    config = loop.options.source().config

    assert (config["enable.auto.commit"], config["enable.auto.offset.store"]) == (False, False)


def test_a_loop_hears_of_a_rebalance_within_three_seconds_whatever_its_profile():
    config = ConsumerLoop(Order, handler, settings=LongRunningSettings()).options.source().config

    assert config["heartbeat.interval.ms"] == 3000


def test_a_heartbeat_property_that_is_set_by_name_is_kept():
    settings = LongRunningSettings(extra_config={"heartbeat.interval.ms": 20_000})

    config = ConsumerLoop(Order, handler, settings=settings).options.source().config

    assert config["heartbeat.interval.ms"] == 20_000


def test_the_poll_interval_of_the_rules_is_the_one_that_librdkafka_gets():
    loop = ConsumerLoop(Order, handler, consumer_config={"max.poll.interval.ms": 700_000})

    assert loop.options.rules(loop.options.source()).max_poll_interval == 700


def test_a_handler_of_pinned_partitions_may_run_for_ever():
    loop = ConsumerLoop(Order, handler, partitions=[0, 1])

    assert loop.options.rules(loop.options.source()).max_poll_interval == math.inf


def test_the_rules_know_how_long_a_fetch_may_take():
    own = ConsumerLoop(Order, handler, consumer_config={"fetch.wait.max.ms": 2_000})
    default = ConsumerLoop(Order, handler)

    assert own.options.rules(own.options.source()).fetch_wait == 2.0
    assert default.options.rules(default.options.source()).fetch_wait == 0.5


def test_the_defaults_are_the_contracts():
    sync, aio = ConsumerLoop(Order, handler), AsyncConsumerLoop(Order, async_handler)

    for loop in (sync, aio):
        assert isinstance(loop.settings, LongRunningSettings)
        assert loop.options.commit_strategy is CommitStrategy.BEFORE_PROCESSING
        assert (loop.options.max_retries, loop.options.retry_delay) == (0, 1.0)
    assert (sync.options.max_concurrent, aio.options.max_concurrent) == (1, 10)
    assert (sync.options.ordering, aio.options.ordering) == (Ordering.PARTITION, Ordering.KEY)


def test_positional_arguments_keep_the_contracts_order():
    sync = list(inspect.signature(ConsumerLoop).parameters)[:11]
    aio = list(inspect.signature(AsyncConsumerLoop).parameters)[:12]

    head = ["model", "handler", "settings", "group_id", "error_handler", "on_startup"]
    tail = ["commit_strategy", "max_retries", "retry_delay", "poll_timeout"]
    assert sync == [*head, "on_shutdown", *tail]
    assert aio == [*head, "on_shutdown", "max_concurrent", *tail]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("before_processing", OnFailure.SKIP), ("after_processing", OnFailure.STOP)],
)
def test_a_final_failure_stops_at_least_once_and_is_skipped_at_most_once(strategy, expected):
    options = ConsumerLoop(Order, handler, commit_strategy=strategy).options

    assert options.rules(options.source()).failures.on_failure is expected


def test_a_decorated_handler_is_its_loop_and_the_plain_function_stays_reachable():
    sync = consumer_loop(Order, max_retries=2)(handler)
    aio = async_consumer_loop(Order, max_concurrent=3)(async_handler)

    assert isinstance(sync, ConsumerLoop)
    assert isinstance(aio, AsyncConsumerLoop)
    assert (sync.handler, aio.handler) == (handler, async_handler)
    assert (sync.__wrapped__, sync.__name__, sync.__doc__) == (
        handler,
        "handler",
        "Handle an order.",
    )
    assert (sync.options.max_retries, aio.options.max_concurrent) == (2, 3)


def a_generator(order: Order):
    yield order


async def an_async_generator(order: Order):
    yield order


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("function", [a_generator, an_async_generator])
@pytest.mark.parametrize("name", ["handler", "error_handler", "on_startup", "on_shutdown"])
def test_a_generator_function_is_refused_because_calling_it_does_nothing(kind, function, name):
    arguments = {"handler": handler, name: function}

    with pytest.raises(ConfigurationError, match=f"{name} {function.__name__} is a generator"):
        kind(Order, **arguments)


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("handler", lambda: None),
        ("handler", lambda message, context, more: None),
        ("header_filter", lambda: True),
        ("tombstone_handler", lambda key, more: None),
        ("error_handler", lambda error, raw: None),
        ("on_startup", lambda app: None),
    ],
)
def test_a_function_that_cannot_take_what_it_gets_is_refused(kind, name, function):
    arguments = {"handler": handler, name: function}

    with pytest.raises(ConfigurationError, match=f"{name} .* cannot be called with"):
        kind(Order, **arguments)


def test_functions_with_further_defaults_and_those_that_do_not_tell_are_taken():
    ConsumerLoop(Order, lambda message, verbose=False: None, on_startup=print)
    ConsumerLoop(Order, Mock(), error_handler=Mock())
    ConsumerLoop(Order, dict)


def test_a_length_of_time_that_no_timer_takes_is_a_value_error():
    with pytest.raises(ValueError, match="drain_timeout must be 0 or more, 31622400 at most"):
        ConsumerLoop(Order, handler, drain_timeout=1e12)


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("max_retry", "max_retries"),
        ("retries_delay", "retry_delay"),
        ("dead_leter_limit", "dead_letter_limit"),
        ("commit_strategie", "commit_strategy"),
        ("group", "group_id"),
    ],
)
def test_an_unknown_option_is_a_type_error_that_names_the_nearest_one(kind, wrong, nearest):
    words = f"a loop has no option '{wrong}'; did you mean '{nearest}'?"
    with pytest.raises(TypeError, match=re.escape(words)):
        kind(Order, handler, **{wrong: 3})


def test_where_no_option_is_near_none_is_named():
    with pytest.raises(TypeError, match=r"a loop has no option 'zzz'$"):
        consumer_loop(Order, zzz=3)(handler)


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("name", ["max_retries", "batch_timeout"])
def test_text_where_a_number_belongs_is_a_type_error_that_names_the_option(kind, name):
    with pytest.raises(TypeError, match=f"{name} must be a number, not '3'"):
        kind(Order, handler, **{name: "3"})


def test_an_option_that_needs_the_other_loop_is_refused_with_the_reason():
    with pytest.raises(ConfigurationError, match="attempt_timeout needs AsyncConsumerLoop: nothin"):
        ConsumerLoop(Order, handler, attempt_timeout=1)
