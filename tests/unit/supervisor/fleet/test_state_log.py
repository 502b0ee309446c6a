"""The log of state changes keeps the latest ones and numbers them."""

from __future__ import annotations

import json

from supervisor.fleet.slot_spec import SlotKey
from supervisor.fleet.state_log import KEPT, StateLog
from supervisor.slot.machine import SlotState


def filled(count):
    log = StateLog()
    for n in range(count):
        log.add(
            SlotKey("orders", n),
            1,
            before=SlotState.STARTING,
            after=SlotState.ASSIGNED,
            at=float(n),
        )
    return log


def test_only_the_latest_changes_are_kept_and_their_numbers_go_on():
    log = filled(KEPT + 10)

    assert len(log.latest) == KEPT
    assert (log.latest[0].number, log.latest[-1].number) == (11, KEPT + 10)


def test_who_knows_a_number_gets_what_came_after_it():
    log = filled(5)

    assert [change.number for change in log.after(3)] == [4, 5]
    assert log.after(5) == []


def test_a_change_can_be_shown_as_json():
    assert json.loads(json.dumps(filled(1).latest[0].shown()))["after"] == "assigned"
