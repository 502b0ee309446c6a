"""How a loop is supervised and tested without a look at its private parts."""

from __future__ import annotations

import contextlib

import pytest

from flowodm import AsyncConsumerLoop, ConsumerLoop, FlowBaseModel, LongRunningSettings, connect
from flowodm.events import LoopState
from flowodm.testing import run_loop


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
    ("kind", "handler"), [(ConsumerLoop, handle), (AsyncConsumerLoop, ahandle)]
)


@pytest.fixture(autouse=True)
def connected() -> None:
    connect(bootstrap_servers="127.0.0.1:1")


@BOTH
def test_the_source_has_topic_group_and_the_client_s_configuration(kind, handler):
    source = kind(Order, handler, partitions=[3]).consumer_source()

    assert (source.topic, source.config["group.id"]) == ("orders", "shipping")
    assert source.config["bootstrap.servers"] == "127.0.0.1:1"
    assert source.partitions == (3,)


def test_a_client_default_holds_unless_the_loop_or_its_profile_sets_the_property():
    profile = LongRunningSettings(extra_config={"client.rack": "profile"})
    loop = ConsumerLoop(Order, handle, profile, consumer_config={"client.id": "loop"})

    loop.set_client_defaults(
        {"client.rack": "default", "client.id": "default", "client.software.name": "default"}
    )

    config = loop.consumer_source().config
    assert config["client.rack"] == "profile"
    assert config["client.id"] == "loop"
    assert config["client.software.name"] == "default"


def test_replaced_options_hold_within_the_block_only():
    loop = ConsumerLoop(Order, handle, max_retries=3)

    with contextlib.suppress(ZeroDivisionError), loop.replaced_options(max_retries=1):
        assert (loop.max_retries, loop.options.max_retries) == (1, 1)
        _ = 1 / 0

    assert loop.max_retries == 3


def test_replaced_options_are_checked():
    loop = ConsumerLoop(Order, handle)

    with pytest.raises(ValueError, match="max_retries"), loop.replaced_options(max_retries=-1):
        pass


@BOTH
def test_before_the_first_run_there_is_no_session_and_no_hook_to_cancel(kind, handler):
    loop = kind(Order, handler)

    loop.cancel_hook()
    loop.ask_group()

    assert loop.session is None


@BOTH
def test_stopping_the_last_session_does_not_stop_the_next_run(kind, handler):
    loop = kind(Order, handler)
    run_loop(loop, [Order(order_id="1")])

    loop.session.stop(now=True)

    assert len(run_loop(loop, [Order(order_id="2")]).attempts) == 1
    assert loop.status().state is LoopState.STOPPED
