"""Hung workers are reported once and recycled in turn; workers that need not run are ignored."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from supervisor.config.config import SupervisorConfig
from supervisor.fleet import health
from supervisor.fleet.configured_slots import configured_members
from supervisor.fleet.health import Health
from supervisor.protocol import Heartbeat, Logging
from supervisor.slot.machine import Slot, SlotState
from supervisor.slot.restart import ExitClass

NOBODY = 2**22 + 1
"""A pid that Linux gives to no process."""


class Fleet:
    """Two workers at work, and a record of what `Health` does with them."""

    def __init__(self, **options):
        table = {"model": "a:b", "handler": "a:b", "workers": 2, "recycle_jitter": 0, **options}
        config = SupervisorConfig.model_validate({"consumers": {"orders": table}})
        self.members = configured_members(config, "host", Logging(), Slot.new(0.0))
        for member in self.members:
            member.slot = member.slot.to(SlotState.ASSIGNED, 0.0)
            member.pid, member.spawned = NOBODY, 1
        self.hung_workers = []
        self.recycled = []
        self.now = 0.0
        self.health = Health(self, lambda key: self.recycled.append(str(key)))

    def hung(self, member, hang):
        self.hung_workers.append((member.index, hang.reason))
        member.slot = member.slot.to(SlotState.DRAINING, 0.0)

    def run(self, seconds, **beat):
        """Let both workers send a heartbeat, and `Health` look at them, once a second."""
        for _ in range(seconds):
            self.now += 1
            for member in self.members:
                defaults = {
                    "joined": True,
                    "assigned": [("orders", 0)],
                    "in_flight": 0,
                    "buffered": 0,
                    "processed": int(self.now),
                    "lag": 0,
                    "oldest_handler_seconds": 0.0,
                    "metrics": None,
                }
                member.beat(Heartbeat(**{**defaults, **beat}), self.now)
            self.health.look(self.now)


def test_a_stall_is_told_once_for_each_worker():
    fleet = Fleet(stall_timeout="5s")
    fleet.run(20, behind=[("orders", 0, 17)])
    assert fleet.hung_workers == [(0, ExitClass.STALLED), (1, ExitClass.STALLED)]


def test_a_paused_worker_stands_still_as_it_was_told():
    fleet = Fleet(stall_timeout="5s")
    fleet.members[0].paused = True
    fleet.run(20, behind=[("orders", 0, 17)])
    assert fleet.hung_workers == [(1, ExitClass.STALLED)]


@pytest.mark.parametrize("state", [SlotState.BACKING_OFF, SlotState.DRAINING, SlotState.FAILED])
def test_a_worker_that_is_not_to_run_is_not_watched(state):
    fleet = Fleet(stall_timeout="5s")
    fleet.members[0].slot = fleet.members[0].slot.to(state, 0.0)
    fleet.run(20, behind=[("orders", 0, 17)])
    assert fleet.hung_workers == [(1, ExitClass.STALLED)]


def test_workers_that_have_done_enough_are_named_and_not_otherwise():
    fleet = Fleet(max_messages=10)
    fleet.run(9)
    assert fleet.recycled == []
    fleet.run(1)
    assert set(fleet.recycled) == {"orders/0", "orders/1"}


def test_nothing_is_recycled_while_a_worker_of_the_consumer_is_away():
    fleet = Fleet(max_messages=10)
    fleet.members[1].slot = fleet.members[1].slot.to(SlotState.BACKING_OFF, 0.0)
    fleet.run(20)
    assert fleet.recycled == []
    fleet.members[1].slot = fleet.members[1].slot.to(SlotState.FAILED, 0.0)
    fleet.run(20)
    assert set(fleet.recycled) == {"orders/0"}, "one that has failed for good holds up nobody"


def test_the_log_says_only_once_that_a_worker_is_to_be_recycled(caplog):
    caplog.set_level("INFO", "supervisor")
    fleet = Fleet(max_messages=10)
    fleet.run(20)
    assert len(caplog.records) == 2


def test_the_memory_that_counts_is_that_of_the_process(monkeypatch):
    sizes = {NOBODY: 600_000_000}
    monkeypatch.setattr(health, "usage_of", lambda pid: SimpleNamespace(resident_bytes=sizes[pid]))
    fleet = Fleet(max_rss="601MB")
    fleet.run(3)
    assert fleet.recycled == []
    sizes[NOBODY] = 601_000_000
    fleet.run(3)
    assert fleet.recycled
