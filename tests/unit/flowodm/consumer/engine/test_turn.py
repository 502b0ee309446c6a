"""What one turn of the poller comes to."""

from __future__ import annotations

import pytest

from flowodm.consumer.engine.actions import (
    NOTHING_ARRIVED,
    Arrivals,
    Awaited,
    CommitSettled,
    CommitWindow,
    Fetch,
    LeaveGroup,
    PausePartitions,
    RejoinGroup,
    ResumePartitions,
    Sample,
    WaitForRoom,
)
from flowodm.consumer.engine.commit import CommitStrategy
from flowodm.consumer.engine.engine import SAMPLE_INTERVAL, SAMPLE_LATE, Engine
from flowodm.consumer.engine.fetch_plan import ANSWER_TICK, SLICE
from flowodm.consumer.engine.lanes import Ordering
from flowodm.consumer.engine.offsets import Position
from flowodm.consumer.engine.rules import Rules
from support.fake_records import fake_records

A, B = ("orders", 0), ("orders", 1)
BEFORE, AFTER = CommitStrategy.BEFORE_PROCESSING, CommitStrategy.AFTER_PROCESSING


def engine(strategy=AFTER, **rules) -> Engine:
    made = Engine(Rules(strategy=strategy, **rules))
    made.assigned([A, B])
    return made


def of(turn, kind):
    return [action for action in turn.actions if isinstance(action, kind)]


def arrived(count: int, tp=A, first: int = 0) -> Arrivals:
    return Arrivals({tp: fake_records(first, count)})


def handle(run, count: int, now: float = 0.0) -> None:
    for _ in range(count):
        run.ticks.append(now)
        run.done += 1


def test_an_idle_turn_waits_for_a_record_and_asks_for_nothing():
    e = engine()
    e.turn(NOTHING_ARRIVED, 0.0, paused=False)

    turn = e.turn(NOTHING_ARRIVED, 0.1, paused=False)

    assert turn.actions == []
    assert turn.fetch == Fetch(SLICE)
    e.end_visit()
    assert e.end_visit() == ([], False), "nothing to wake a handler for"


def test_what_arrived_may_be_handled_and_wakes_the_handlers():
    e = engine()
    e.end_visit()

    e.turn(arrived(3), 0.0, paused=False)

    assert e.end_visit()[1]
    run, _ = e.next_run(0.0)
    assert len(run.records) == 3
    assert not e.end_visit()[1], "the only handler is busy"


def test_settled_records_are_committed_with_the_interval():
    e = engine(commit_interval=1.0)
    e.turn(arrived(3), 0.0, paused=False)
    run, _ = e.next_run(0.0)
    handle(run, 3)
    e.finished(run)

    (commit,) = of(e.turn(NOTHING_ARRIVED, 1.0, paused=False), CommitSettled)

    assert commit.offsets == {A: Position(3)}
    assert not of(e.turn(NOTHING_ARRIVED, 9.0, paused=False), CommitSettled), "one at a time"
    e.answered(commit.offsets, 9.0, ok=True, scheduled=True)
    assert not of(e.turn(NOTHING_ARRIVED, 20.0, paused=False), CommitSettled)


def test_a_window_is_committed_before_its_handlers_start():
    e = engine(BEFORE)

    turn = e.turn(arrived(3), 0.0, paused=False)

    (commit,) = of(turn, CommitWindow)
    assert turn.fetch == Fetch(ANSWER_TICK)
    assert e.next_run(0.0)[0] is None
    e.answered({}, 0.0, ok=True, window=commit.window, scheduled=True)
    assert e.next_run(0.0)[0] is not None


def test_records_for_which_it_is_not_time_yet_are_asked_about_in_time():
    e = engine(BEFORE, commit_ahead=0.08)
    (commit,) = of(e.turn(arrived(3), 0.0, paused=False), CommitWindow)
    e.answered({}, 0.0, ok=True, window=commit.window, scheduled=True)
    assert e.next_run(0.0)[0] is not None

    turn = e.turn(NOTHING_ARRIVED, 0.0, paused=False)

    assert turn.fetch == Fetch(0.0, window_patience=0.02)


def test_a_full_buffer_waits_for_room_and_then_pauses():
    rules = Rules(fetch_size=2)
    e = engine(fetch_size=2, max_concurrent=1)
    e.turn(arrived(50), 0.0, paused=False)
    assert e.next_run(0.0)[0] is not None

    turn = e.turn(arrived(50, first=50), 0.0, paused=False)

    assert turn.fetch == WaitForRoom(Awaited.ROOM, SLICE)
    later = e.turn(NOTHING_ARRIVED, rules.fetch_wait + 1.0, paused=False)
    assert of(later, PausePartitions) == [PausePartitions([A])]
    assert later.fetch == Fetch(SLICE), "other partitions are fetched"


@pytest.mark.parametrize("strategy", [AFTER, BEFORE])
def test_a_paused_loop_pauses_its_partitions_and_stays_in_its_group(strategy):
    e = engine(strategy, max_poll_interval=5.0)
    e.turn(arrived(3), 0.0, paused=False)

    turn = e.turn(NOTHING_ARRIVED, 0.1, paused=True)

    assert of(turn, PausePartitions) == [PausePartitions([A, B])]
    assert e.next_run(0.1) == (None, None)
    for now in (10.0, 100.0, 1_000.0):
        assert not of(e.turn(NOTHING_ARRIVED, now, paused=True), LeaveGroup)
    turn = e.turn(NOTHING_ARRIVED, 1_001.0, paused=False)
    assert of(turn, ResumePartitions) == [ResumePartitions([A, B])]


def test_records_that_nobody_takes_make_the_member_leave_until_somebody_looks():
    e = engine(max_poll_interval=5.0)
    e.turn(arrived(3), 1.0, paused=False)

    assert not of(e.turn(NOTHING_ARRIVED, 5.9, paused=False), LeaveGroup)
    assert of(e.turn(NOTHING_ARRIVED, 6.1, paused=False), LeaveGroup)

    e.forget()
    assert e.end_visit()[1], "the handlers' side is to look"
    assert not of(e.turn(NOTHING_ARRIVED, 7.0, paused=False), RejoinGroup)
    e.next_run(7.5)
    assert of(e.turn(NOTHING_ARRIVED, 8.0, paused=False), RejoinGroup)
    e.end_visit()
    assert not e.end_visit()[1]


def test_a_handler_past_the_poll_interval_makes_the_member_leave_until_it_has_ended():
    e = engine(max_poll_interval=5.0)
    e.turn(arrived(3), 0.0, paused=False)
    run, _ = e.next_run(0.0)
    assert of(e.turn(NOTHING_ARRIVED, 5.1, paused=False), LeaveGroup)
    e.forget()

    assert not of(e.turn(NOTHING_ARRIVED, 50.0, paused=False), RejoinGroup)
    e.finished(run)
    e.next_run(60.0)
    assert of(e.turn(NOTHING_ARRIVED, 60.0, paused=False), RejoinGroup)


@pytest.mark.parametrize("strategy", [AFTER, BEFORE])
@pytest.mark.parametrize("ordering", [Ordering.PARTITION, Ordering.KEY])
def test_a_sample_sees_how_far_a_run_has_come(strategy, ordering):
    """Also where nothing is committed meanwhile, which would book it, too."""
    e = engine(strategy, ordering=ordering, commit_interval=1_000.0)
    for window in of(e.turn(arrived(10), 0.0, paused=False), CommitWindow):
        e.answered({}, 0.0, ok=True, window=window.window, scheduled=True)
    run, _ = e.next_run(0.0)
    done = min(4, len(run.records))
    handle(run, done)

    (sample,) = of(e.turn(NOTHING_ARRIVED, 2.0, paused=False), Sample)

    assert sample.positions[A] == done


def test_a_sample_is_taken_once_an_interval_and_rather_not_with_what_has_just_arrived():
    e = engine()
    due = SAMPLE_INTERVAL
    assert of(e.turn(NOTHING_ARRIVED, 0.0, paused=False), Sample)

    assert not of(e.turn(NOTHING_ARRIVED, due - 0.01, paused=False), Sample)
    assert not of(e.turn(arrived(1), due + 0.01, paused=False), Sample)
    assert of(e.turn(arrived(1, first=1), due + SAMPLE_LATE, paused=False), Sample)


def test_with_each_sample_the_handlers_side_looks_once():
    """So an event loop that was closed is noticed, whatever else happens."""
    e = engine()
    e.turn(NOTHING_ARRIVED, 0.0, paused=False)
    assert e.end_visit() == ([], True)
    assert e.end_visit() == ([], False)
