"""Whoever holds a dead member's group.instance.id by now, in whatever process, stays a member."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer

from supervisor.worker.eviction import evict_dead
from support.brokers.clients import admin_client
from support.waiting import wait_until

PATIENCE = 30.0
INSTANCE = "host-orders-0"


def joined(config, topic):
    """A consumer that has joined, and its id in the group."""
    consumer = Consumer(config)
    consumer.subscribe([topic])

    def assigned() -> bool:
        consumer.poll(0.05)
        return bool(consumer.assignment())

    wait_until(assigned, PATIENCE, "the member has joined")
    return consumer, consumer.memberid()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_the_instances_present_member_is_not_evicted_for_its_predecessor(
    kafka, new_topic, group, protocol
):
    topic = new_topic(partitions=1)
    config = {
        "bootstrap.servers": kafka,
        "group.id": group,
        "group.instance.id": INSTANCE,
        "group.protocol": protocol,
    }
    predecessor, dead = joined(config, topic)
    predecessor.close()  # a static member stays in its group
    present, alive = joined(config, topic)
    assert dead != alive

    assert evict_dead(config, [dead], successor=False)

    admin = admin_client(kafka)
    members = admin.describe_consumer_groups([group])[group].result(10).members
    assert [member.member_id for member in members] == [alive]
    assert evict_dead(config, [alive], successor=False)
    assert admin.describe_consumer_groups([group])[group].result(10).members == []
    present.close()
