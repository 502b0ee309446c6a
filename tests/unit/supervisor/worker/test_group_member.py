"""The heartbeat interval of supervised workers is shortened, unless the user has set it."""

from __future__ import annotations

import pytest
import shop

from flowodm import ConsumerLoop, LongRunningSettings, connect
from supervisor.worker.group_member import (
    DYNAMIC_MS,
    HEARTBEAT,
    STATIC_MS,
    GroupMember,
    speed_up_heartbeats,
)


def loop(**more):
    connect(bootstrap_servers="nowhere:9092")
    return ConsumerLoop(shop.Order, shop.handle, **more)


def interval(**more):
    supervised = loop(**more)
    speed_up_heartbeats(supervised)
    return supervised.consumer_source().config.get(HEARTBEAT)


def test_dynamic_members_of_a_classic_group_beat_fastest():
    assert interval() == DYNAMIC_MS


def test_static_members_of_a_classic_group_beat_each_second():
    assert interval(group_instance_id="a-orders-0") == STATIC_MS


def test_an_interval_that_the_user_set_stays():
    profile = LongRunningSettings(extra_config={HEARTBEAT: 2000})

    assert interval(consumer_config={HEARTBEAT: 5000}) == 5000
    assert interval(settings=profile) == 2000


def test_under_kip_848_the_interval_is_the_brokers():
    assert interval(consumer_config={"group.protocol": "consumer"}) is None


def test_pinned_partitions_have_no_heartbeats_to_speed_up():
    pinned = loop(partitions=[0])
    options = pinned.options

    speed_up_heartbeats(pinned)

    assert pinned.options is options


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"session.timeout.ms": 300_000}, "session.timeout.ms (300 s)"),
        ({}, "session.timeout.ms (45 s)"),
        ({"group.protocol": "consumer"}, "group.consumer.session.timeout.ms of the broker"),
    ],
)
def test_the_session_that_counts_is_named(more, words):
    assert words in GroupMember.of({"group.id": "orders", **more}).session
