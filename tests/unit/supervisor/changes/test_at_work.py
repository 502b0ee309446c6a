"""A worker is at work once it is assigned and makes progress."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from supervisor.changes.at_work import PACE, view_of
from supervisor.config.config import SupervisorConfig
from supervisor.fleet.configured_slots import configured_members
from supervisor.protocol import Heartbeat, Logging
from supervisor.slot.machine import Slot, SlotState

BEAT = Heartbeat(
    joined=True,
    assigned=[("orders", 1)],
    in_flight=0,
    buffered=0,
    processed=7,
    lag=0,
    oldest_handler_seconds=0.0,
    metrics=None,
)
KIP848 = {"kafka": {"options": {"group.protocol": "consumer"}}}


def successor(**options):
    """Make a worker that joined at 100.0 and is at work."""
    table = {"model": "shop:Order", "handler": "shop:handle", **options}
    config = SupervisorConfig.model_validate({"consumers": {"orders": table}})
    (member,) = configured_members(config, "host", Logging(), Slot.new(0.0))
    member.process, member.spawned = SimpleNamespace(), 2
    member.slot = Slot.new(0.0).to(SlotState.PROCESSING, 100.0)
    member.beat(BEAT, 100.0)
    return member


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"partition_groups": [[0]]},
        {"membership": "dynamic", **KIP848},
    ],
)
def test_where_nobody_else_joins_again_the_next_one_follows_at_once(options):
    assert view_of(successor(**options), 100.0).at_work


def test_where_the_whole_group_joins_again_its_clients_get_the_second_that_they_need():
    member = successor(membership="dynamic")
    member.beat(BEAT, 100.0 + PACE / 2)  # what counts is the first

    assert not view_of(member, 100.0 + PACE / 2).at_work
    assert view_of(member, 100.1 + PACE).at_work


def test_a_worker_that_ended_does_not_lend_its_time_to_the_next_one():
    member = successor(membership="dynamic")
    member.reset_process()
    member.beat(BEAT, 200.0)

    assert not view_of(member, 200.0).at_work
