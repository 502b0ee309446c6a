"""What the observers of the main loop get."""

from __future__ import annotations

import pytest

from supervisor.config.config import SupervisorConfig
from supervisor.fleet.configured_slots import configured_members
from supervisor.instrumentation.snapshot import snapshot
from supervisor.protocol import Heartbeat, Logging
from supervisor.slot.machine import Slot, SlotState


@pytest.fixture
def members():
    consumer = {"model": "shop:Order", "handler": "shop:process"}
    config = SupervisorConfig.model_validate(
        {
            "supervisor": {"drain_timeout": "20s", "kill_delay": "3s"},
            "consumers": {
                "orders": {**consumer, "workers": 3},
                "mails": {**consumer, "drain_timeout": "60s"},
            },
        }
    )
    return configured_members(config, "host", Logging(), Slot.new(0.0))


def put(members, *states):
    for member, state in zip(members, states, strict=True):
        member.slot = member.slot.to(state, 1.0)


def beat(processed):
    return Heartbeat(
        joined=True,
        assigned=[("orders", 0)],
        in_flight=0,
        buffered=0,
        processed=processed,
        lag=0,
        oldest_handler_seconds=0.0,
        metrics=None,
    )


def test_it_counts_the_slots_by_what_they_are(members):
    put(members, SlotState.ASSIGNED, SlotState.BACKING_OFF, SlotState.FAILED, SlotState.GONE)
    fleet = snapshot(members, 2.0, stop_at=None)
    counts = (fleet.workers, fleet.assigned, fleet.backing_off, fleet.failed, fleet.ended)
    assert counts == (4, 1, 1, 1, 2)
    assert not fleet.ready
    assert not fleet.stopping


def test_it_is_ready_when_every_slot_is_assigned_and_heard_of(members):
    put(members, *[SlotState.ASSIGNED] * 3, SlotState.PROCESSING)
    assert snapshot(members, 2.0, stop_at=None).ready
    assert not snapshot(members, 2.0, stop_at=1.0).ready
    members[0].beat(beat(1), 2.0)
    silent = snapshot(members, 60.0, stop_at=None)
    assert (silent.assigned, silent.ready) == (3, False)


def test_what_was_settled_is_kept_over_the_processes(members):
    members[0].beat(beat(5), 1.0)
    members[0].reset_process()
    members[1].beat(beat(2), 1.0)
    assert snapshot(members, 2.0, stop_at=None).settled == 7


def test_it_stops_when_asked_or_when_every_worker_has_ended(members):
    put(members, *[SlotState.GONE] * 3, SlotState.DRAINING)
    assert not snapshot(members, 2.0, stop_at=None).stopping
    assert snapshot(members, 2.0, stop_at=1.0).stopping
    put(members, *[SlotState.GONE] * 3, SlotState.FAILED)
    assert snapshot(members, 2.0, stop_at=None).stopping
    assert snapshot(members, 2.0, stop_at=None).drain_deadline is None


def test_the_drain_deadline_is_the_slowest_consumers_end_by_force(members):
    reap_timeout = members[0].policy.reap_timeout
    assert snapshot(members, 102.0, stop_at=100.0).drain_deadline == 100 + 60 + 3 + reap_timeout
