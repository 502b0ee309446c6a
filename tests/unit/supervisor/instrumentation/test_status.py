"""What an operator is told."""

from __future__ import annotations

import json
import re

import pytest

from supervisor.config.config import SupervisorConfig
from supervisor.fleet.configured_slots import configured_members
from supervisor.fleet.outcomes import WorkerFailure
from supervisor.instrumentation import status
from supervisor.protocol import Heartbeat, Logging
from supervisor.slot.machine import Slot, SlotState
from supervisor.slot.restart import ExitClass


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


def failure(message):
    return WorkerFailure(
        "orders",
        slot=0,
        pid=4711,
        reason=ExitClass.CRASH,
        message=message,
        at=0.0,
        consequence="none",
    )


def test_it_is_ready_when_every_wanted_worker_is_assigned(members):
    for member in members:
        member.slot = member.slot.to(SlotState.ASSIGNED, 1.0)
    members[2].slot = members[2].slot.to(SlotState.PROCESSING, 1.0)
    assert status.unready(members, 2.0) == []
    members[1].slot = members[1].slot.to(SlotState.BACKING_OFF, 2.0)
    members[1].last_failure = failure("RuntimeError: no database")
    assert status.unready(members, 2.0) == ["orders/1: backing_off (RuntimeError: no database)"]


def test_what_is_wrong_with_a_worker_now_counts_more_than_its_predecessors_end(members):
    members = members[:1]
    members[0].slot = members[0].slot.to(SlotState.DRAINING, 1.0)
    members[0].last_failure = failure("RuntimeError: no database")
    assert status.consumers(members, 2.0)["orders"]["slots"][0]["complaint"] is None
    members[0].complaint = "no heartbeat for 31 s"
    assert status.consumers(members, 2.0)["orders"]["slots"][0]["complaint"] == members[0].complaint
    assert status.unready(members, 2.0) == ["orders/0: draining (no heartbeat for 31 s)"]


def test_a_worker_that_is_silent_for_more_than_ten_seconds_is_not_ready(members):
    members = members[:1]
    members[0].slot = members[0].slot.to(SlotState.ASSIGNED, 1.0)
    members[0].beat(heartbeat(), 1.0)
    assert status.unready(members, 11.0) == []
    assert status.consumers(members, 11.0)["orders"]["ready"]
    assert status.unready(members, 12.0) == [
        "orders/0: assigned, but its last heartbeat came 11 s ago"
    ]
    assert not status.consumers(members, 12.0)["orders"]["ready"]
    members[0].reset_process()
    assert status.consumers(members, 12.0)["orders"]["slots"][0]["heartbeat_age_seconds"] is None


def test_the_status_shows_each_slot_and_no_secret(members):
    members[0].pid = 4711
    members[0].beat(heartbeat(processed=5, in_flight=1, buffered=2), 1.0)
    shown = status.consumers(members, now=10.0)
    assert list(shown) == ["orders", "mails"]
    slot = shown["orders"]["slots"][0]
    assert slot["pid"] == 4711
    assert slot["heartbeat_age_seconds"] == 9.0
    assert slot["partitions"] == [["orders", 1]]
    assert (slot["processed"], slot["in_flight"], slot["lag"]) == (5, 1, 3)
    assert "hunter2" not in json.dumps(shown)


def test_the_status_documents_every_key(members):
    def keys(value):
        match value:
            case dict():
                return set(value) | {key for each in value.values() for key in keys(each)}
            case list():
                return {key for each in value for key in keys(each)}
        return set()

    members[0].last_failure = failure("no database")
    shown = list(status.consumers(members, 1.0).values())
    documented = set(re.findall(r"``(\w+)``", status.__doc__))
    assert keys(shown) <= documented


def test_a_consumer_sums_up_its_workers_and_tells_restarts_by_reason(members):
    orders = members[:2]
    for member in orders:
        member.beat(heartbeat(in_flight=2, buffered=5, lag=10, processed=7), 1.0)
    orders[0].restarts[ExitClass.SIGNAL] += 2
    orders[1].restarts[ExitClass.SIGNAL] += 1
    orders[1].restarts[ExitClass.CRASH] += 1
    measured = status.Measured(records_per_second=1.25, cpu_seconds=3.5, resident_bytes=1000)
    shown = status.consumers(orders, 2.0, lambda member, now: measured)["orders"]
    totals = ("in_flight", "buffered", "lag", "processed", "records_per_second", "restarts")
    assert [shown[key] for key in totals] == [4, 10, 20, 14, 2.5, 4]
    assert shown["restarts_by_reason"] == {"signal": 3, "crash": 1}
    assert shown["slots"][0]["restarts_by_reason"] == {"signal": 2}
    assert shown["slots"][0]["cpu_seconds"] == 3.5
    assert shown["slots"][0]["resident_bytes"] == 1000


def test_the_lag_of_a_consumer_is_unknown_while_that_of_one_worker_is(members):
    one, other = members[:2]
    one.beat(heartbeat(lag=3), 1.0)
    assert status.lag([one, other]) is None
    other.beat(heartbeat(lag=None), 1.0)
    assert status.lag([one, other]) is None
    other.beat(heartbeat(lag=None, joined=False, assigned=[]), 1.0)
    assert status.lag([one, other]) is None
    other.beat(heartbeat(lag=None, assigned=[]), 1.0)
    assert status.lag([one, other]) == 3
    other.reset_process()
    other.slot = other.slot.to(SlotState.GONE, 2.0)
    assert status.lag([one, other]) == 3


def test_a_worker_that_failed_for_good_leaves_its_partitions_to_the_group_unless_pinned(members):
    for member in members:
        member.slot = member.slot.to(SlotState.FAILED, 1.0)
    of_a_group, pinned = members[0], members[2]
    assert status.lag([of_a_group]) == 0
    assert status.lag([pinned]) is None
