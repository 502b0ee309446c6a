"""What the service manager is told, and when."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.instrumentation.snapshot import Snapshot
from supervisor.systemd.notices import (
    CLOSING,
    EXTENSION,
    EXTENSION_INTERVAL,
    ManagerState,
    notice,
    status_text,
)

STARTING = Snapshot(
    at=100.0, workers=4, assigned=1, backing_off=0, failed=0, ended=0, settled=0, ready=False
)
RUNNING = replace(STARTING, assigned=4, ready=True)
DRAINING = replace(STARTING, stopping=True, drain_deadline=145.0)


class Manager:
    """The other side: it takes what is due, and keeps it as (time, fields)."""

    def __init__(self, watchdog=None):
        self.told = ManagerState()
        self.watchdog = watchdog
        self.received = []

    def hear(self, fleet, *, full=False):
        """What one turn sends; `full` is a socket that takes nothing."""
        before = len(self.received)
        while (due := notice(self.told, fleet, self.watchdog)) and not full:
            self.told, text = due
            fields = dict(line.split("=", 1) for line in text.splitlines())
            assert len(fields) == len(text.splitlines()), text
            self.received.append((fleet.at, fields))
        return [fields for _, fields in self.received[before:]]

    def names(self, fleet):
        return [name for fields in self.hear(fleet) for name in fields if name != "STATUS"]

    def all(self, name):
        return [(at, fields[name]) for at, fields in self.received if name in fields]


def later(fleet, seconds, **changes):
    return replace(fleet, at=fleet.at + seconds, **changes)


def test_ready_is_told_once_when_every_worker_is_assigned():
    manager = Manager()
    assert manager.names(STARTING) == []
    assert manager.names(later(RUNNING, 1)) == ["READY"]
    assert manager.names(later(RUNNING, 2)) == []
    assert manager.names(later(STARTING, 3)) == []
    assert manager.names(later(RUNNING, 4)) == []


def test_the_status_says_how_many_are_assigned_and_what_is_wrong_with_the_others():
    assert status_text(STARTING) == "workers assigned: 1 of 4"
    assert status_text(replace(STARTING, backing_off=1, failed=1, ended=2)) == (
        "workers assigned: 1 of 4, backing off: 1, failed for good: 1, ended: 1"
    )
    assert status_text(replace(STARTING, reloading=True)) == "reloading; workers assigned: 1 of 4"
    assert status_text(replace(DRAINING, ended=3)) == "stopping; workers ended: 3 of 4"


def test_the_status_is_told_when_it_changes_and_at_most_once_a_second():
    manager = Manager()
    manager.hear(STARTING)
    manager.hear(later(STARTING, 0.5, assigned=2))
    manager.hear(later(STARTING, 0.9, assigned=3))
    manager.hear(later(STARTING, 1.0, assigned=3))
    manager.hear(later(STARTING, 9.0, assigned=3))
    assert manager.all("STATUS") == [
        (100.0, "workers assigned: 1 of 4"),
        (101.0, "workers assigned: 3 of 4"),
    ]


def test_the_watchdog_hears_of_the_main_loop_after_half_its_time():
    manager = Manager(watchdog=4.0)
    for turn in range(21):
        manager.hear(later(STARTING, turn / 4))
    assert [at for at, _ in manager.all("WATCHDOG")] == [100.0, 102.0, 104.0]


def test_without_a_watchdog_nobody_hears_of_the_main_loop():
    manager = Manager()
    manager.hear(RUNNING)
    assert manager.all("WATCHDOG") == []


def test_a_reload_is_told_with_its_time_and_its_end_is_ready():
    manager = Manager()
    manager.hear(RUNNING)
    (begun,) = manager.hear(later(RUNNING, 2.5, reloads=1, reloading=True))
    assert (begun["RELOADING"], begun["MONOTONIC_USEC"]) == ("1", "102500000")
    assert manager.names(later(RUNNING, 3, reloads=1, reloading=True)) == []
    assert manager.names(later(RUNNING, 4, reloads=1)) == ["READY"]
    assert manager.names(later(RUNNING, 5, reloads=1)) == []


def test_a_reload_that_took_less_than_a_turn_is_told_from_beginning_to_end():
    manager = Manager()
    manager.hear(RUNNING)
    begun, ended = manager.hear(later(RUNNING, 1, reloads=1))
    assert begun["RELOADING"] == "1"
    assert ended["READY"] == "1"


def test_a_reload_right_after_another_is_told_as_a_second_one():
    manager = Manager()
    manager.hear(RUNNING)
    manager.hear(later(RUNNING, 1, reloads=1, reloading=True))
    ended, begun = manager.hear(later(RUNNING, 2, reloads=2, reloading=True))
    assert "READY" in ended
    assert "RELOADING" in begun


def test_the_end_of_a_refused_reload_is_told_also_where_the_fleet_is_not_ready():
    manager = Manager()
    manager.hear(RUNNING)
    manager.hear(later(STARTING, 1, reloads=1, reloading=True))
    assert manager.names(later(STARTING, 2, reloads=1)) == ["READY"]


def test_a_reload_during_the_start_makes_nothing_ready_before_its_time():
    manager = Manager()
    assert manager.names(later(STARTING, 0, reloads=1, reloading=True)) == []
    assert manager.names(later(STARTING, 1, reloads=1)) == []
    assert manager.names(later(RUNNING, 2, reloads=1)) == ["READY"]


@pytest.mark.parametrize("before", [STARTING, RUNNING, replace(RUNNING, reloads=1, reloading=True)])
def test_stopping_is_told_once_and_nothing_takes_it_back(before):
    manager = Manager()
    manager.hear(RUNNING if before.reloads else before)
    manager.hear(before)
    assert manager.names(later(DRAINING, 1, reloads=before.reloads)) == ["STOPPING"]
    assert manager.names(later(DRAINING, 2, reloads=before.reloads + 1, ready=True)) == []


def test_a_fleet_that_ended_by_itself_stops_too_and_asks_for_no_time():
    manager = Manager()
    manager.hear(RUNNING)
    ended = later(STARTING, 1, ended=4, stopping=True)
    assert manager.names(ended) == ["STOPPING"]
    assert manager.names(later(ended, 2, settled=9)) == []


@pytest.mark.parametrize(
    "progress",
    [
        {"settled": 501},
        {"ended": 1},
        {"settled": 400, "workers": 3},  # one that a reload had removed ended, and is forgotten
    ],
)
def test_a_drain_gets_more_time_when_records_were_settled_or_workers_ended(progress):
    manager = Manager()
    draining = replace(DRAINING, settled=500)
    assert manager.names(draining) == ["STOPPING"]
    assert manager.names(later(draining, 1)) == []
    (extended,) = manager.hear(later(draining, 2, **progress))
    assert extended["EXTEND_TIMEOUT_USEC"] == "30000000"
    assert manager.names(later(draining, 9, **progress)) == []


def test_what_was_settled_before_the_drain_is_no_progress_of_it():
    manager = Manager()
    manager.hear(replace(RUNNING, settled=1000))
    manager.hear(later(DRAINING, 1, settled=1000))
    assert manager.names(later(DRAINING, 5, settled=1000)) == []


def test_a_drain_asks_at_most_once_a_second_and_not_beyond_its_deadline():
    manager = Manager()
    for turn in range(600):
        manager.hear(later(DRAINING, turn / 10, settled=turn))
    asked = [(at, int(usec) / 1e6) for at, usec in manager.all("EXTEND_TIMEOUT_USEC")]
    assert len(asked) > 50
    assert all(later - at >= EXTENSION_INTERVAL for (at, _), (later, _) in pairwise(asked))
    assert all(at + usec <= DRAINING.drain_deadline + CLOSING for at, usec in asked)
    assert {usec for at, usec in asked if at < 125} == {EXTENSION}


def test_what_a_full_socket_did_not_take_is_told_later_and_is_not_stale():
    manager = Manager(watchdog=4.0)
    manager.hear(STARTING)
    for turn in range(1, 5):
        manager.hear(later(RUNNING, turn), full=True)
    (caught_up,) = manager.hear(later(RUNNING, 5, assigned=3, ready=True))
    assert caught_up == {"READY": "1", "STATUS": "workers assigned: 3 of 4", "WATCHDOG": "1"}


TURNS = st.lists(
    st.fixed_dictionaries(
        {
            "gap": st.floats(0.001, 1.0),
            "full": st.booleans(),
            "ready": st.booleans(),
            "reloads": st.integers(0, 2),
            "reloading": st.booleans(),
            "settled": st.integers(0, 3),
            "assigned": st.integers(0, 4),
            "stop": st.integers(0, 20).map(lambda n: n == 0),
        }
    ),
    max_size=60,
)


def life(turns):
    """Snapshots as a main loop could take them, each with whether the socket is full."""
    at, reloads, settled, stop_at = 100.0, 0, 0, None
    for turn in turns:
        at += turn["gap"]
        reloads += turn["reloads"]
        settled += turn["settled"]
        if turn["stop"] and stop_at is None:
            stop_at = at
        fleet = Snapshot(
            at=at,
            workers=4,
            assigned=turn["assigned"],
            backing_off=0,
            failed=0,
            ended=0,
            settled=settled,
            ready=turn["ready"] and stop_at is None,
            stopping=stop_at is not None,
            drain_deadline=None if stop_at is None else stop_at + 45.0,
            reloads=reloads,
            reloading=turn["reloading"] and reloads > 0 and stop_at is None,
        )
        yield fleet, turn["full"]


@given(TURNS)
def test_in_any_life_of_a_fleet_the_protocol_holds(turns):
    manager = Manager(watchdog=4.0)
    fleets = list(life(turns))
    for fleet, full in fleets:
        manager.hear(fleet, full=full)
    first_ready = next((fleet.at for fleet, full in fleets if fleet.ready and not full), None)
    ready = [at for at, _ in manager.all("READY")]
    phases = [
        name
        for _, fields in manager.received
        for name in ("READY", "RELOADING", "STOPPING")
        if name in fields
    ]
    # READY, then reloads with one READY each, then STOPPING, and each of them is optional.
    running, _, rest = " ".join(phases).partition("STOPPING")
    assert rest == ""
    words = running.split()
    assert words[::2] == ["READY"] * len(words[::2])
    assert words[1::2] == ["RELOADING"] * len(words[1::2])
    stopped = any(fleet.stopping and not full for fleet, full in fleets)
    assert phases.count("STOPPING") == stopped
    assert ready[:1] == ([] if first_ready is None else [first_ready])
    status = manager.all("STATUS")
    assert all(b[0] - a[0] >= 1.0 and a[1] != b[1] for a, b in pairwise(status))


@given(TURNS)
def test_a_loop_that_turns_once_a_quarter_is_never_taken_for_dead(turns):
    manager = Manager(watchdog=4.0)
    ends = [fleet.at for fleet, _ in life(turns) if manager.hear(fleet) is not None]
    alive = [at for at, _ in manager.all("WATCHDOG")]
    assert alive[:1] == ends[:1]
    assert all(b - a < 3.0 for a, b in pairwise([*alive, *ends[-1:]]))
