"""Each slot of a configuration gets its Start frame."""

from __future__ import annotations

import pytest

from supervisor.config.config import SupervisorConfig
from supervisor.fleet.configured_slots import configured_members
from supervisor.protocol import Logging
from supervisor.slot.machine import Slot


@pytest.fixture
def members():
    config = SupervisorConfig.model_validate(
        {
            "kafka": {"sasl_password": "hunter2"},
            "consumers": {
                "orders": {"model": "shop:Order", "handler": "shop:process", "workers": 2},
                "mails": {
                    "model": "shop:Mail",
                    "handler": "shop:send",
                    "partition_groups": [[0, 2], [1]],
                },
            },
        }
    )
    return configured_members(config, "host", Logging(), Slot.new(0.0))


def test_static_membership_names_each_worker_of_a_group_and_no_pinned_one(members):
    assert [m.start.consumer.get("group_instance_id") for m in members] == [
        "host-orders-0",
        "host-orders-1",
        None,
        None,
    ]
    assert [m.start.consumer.get("partitions") for m in members] == [None, None, [0, 2], [1]]


def test_dynamic_membership_gives_no_name():
    consumer = {"model": "a:b", "handler": "a:b", "membership": "dynamic"}
    config = SupervisorConfig.model_validate({"consumers": {"orders": consumer}})
    (member,) = configured_members(config, "host", Logging(), Slot.new(0.0))
    assert "group_instance_id" not in member.start.consumer
