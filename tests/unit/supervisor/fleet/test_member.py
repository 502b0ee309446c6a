"""A slot keeps the totals of its processes, and derives an event from each heartbeat."""

from __future__ import annotations

import pytest

from supervisor.config.config import SupervisorConfig
from supervisor.fleet.configured_slots import configured_members
from supervisor.protocol import Heartbeat, Logging
from supervisor.slot.machine import Slot


@pytest.fixture
def member():
    table = {"model": "shop:Order", "handler": "shop:process"}
    config = SupervisorConfig.model_validate({"consumers": {"orders": table}})
    (made,) = configured_members(config, "host", Logging(), Slot.new(0.0))
    return made


def heartbeat(**values):
    defaults = {
        "joined": True,
        "assigned": [("orders", 1)],
        "in_flight": 0,
        "buffered": 0,
        "processed": 0,
        "lag": 3,
        "oldest_handler_seconds": 0.0,
        "metrics": None,
    }
    return Heartbeat(**{**defaults, **values})


def test_what_a_slot_processed_is_kept_over_its_processes(member):
    member.beat(heartbeat(processed=5), 1.0)
    member.reset_process()
    assert member.processed == 5
    member.beat(heartbeat(processed=2), 1.0)
    assert member.processed == 7


def test_a_worker_is_busy_while_records_move_or_are_in_hand(member):
    assert not member.beat(heartbeat(processed=0), 1.0).busy
    assert member.beat(heartbeat(processed=1), 1.0).busy
    assert not member.beat(heartbeat(processed=1), 1.0).busy
    assert member.beat(heartbeat(processed=1, in_flight=1), 1.0).busy
