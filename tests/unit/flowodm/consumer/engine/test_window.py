"""What is committed ahead of the handlers, and what must not keep it from being committed."""

from __future__ import annotations

import pytest

from flowodm.consumer.engine.commit import CommitStrategy
from flowodm.consumer.engine.lanes import Ordering
from flowodm.consumer.engine.retry import FailurePolicy, Retry
from flowodm.consumer.engine.rules import Rules
from flowodm.consumer.engine.window import STALLED
from flowodm.events import Stage
from support.engines import SteppedEngine as Engine
from support.fake_records import fake_records

A, B, C = ("orders", 0), ("orders", 1), ("orders", 2)


def engine(hands: int, ordering: Ordering = Ordering.PARTITION, **rules) -> Engine:
    made = Engine(
        Rules(
            strategy=CommitStrategy.BEFORE_PROCESSING,
            ordering=ordering,
            max_concurrent=hands,
            failures=FailurePolicy(max_retries=1, retry_delay=100.0),
            **rules,
        )
    )
    made.assigned([A, B, C])
    return made


def commit(e: Engine, now: float = 0.0) -> dict:
    """Confirm the next window; how many records of which partition it holds."""
    window = e.window(now)
    if window is None:
        return {}
    e.window_answered(window, ok=True)
    counts: dict = {}
    for partition, records in window.chunks:
        counts[partition.tp] = counts.get(partition.tp, 0) + len(records)
    return counts


def handle(e: Engine, run, now: float, seconds: float) -> None:
    for _ in run.records:
        now += seconds
        run.ticks.append(now)
        run.done += 1
    e.finished(run)


def test_each_free_handler_gets_a_partition_of_its_own():
    e = engine(hands=3)
    for tp in (A, B, C):
        e.fetched(tp, fake_records(0, 50))

    assert commit(e) == {A: 1, B: 1, C: 1}


def test_a_partition_gets_no_second_record_for_the_handlers_that_it_cannot_use():
    e = engine(hands=3)
    e.fetched(A, fake_records(0, 50))
    assert commit(e) == {A: 1}
    e.next_run(0.0)

    e.fetched(B, fake_records(0, 50))

    assert commit(e) == {B: 1}


def test_what_is_committed_ahead_is_shared_by_the_partitions_that_are_handled():
    e = engine(hands=2, commit_ahead=0.125)
    for tp in (A, B):
        e.fetched(tp, fake_records(0, 50))
    commit(e)
    for _ in range(2):
        handle(e, e.next_run(0.0), 0.0, seconds=0.0625)
    commit(e)
    for _ in range(2):
        handle(e, e.next_run(0.0), 0.0, seconds=0.0625)

    # Two records a handler take 0.125 s, and one is what each of them can start with.
    assert commit(e) == {A: 3, B: 3}


@pytest.mark.parametrize("ordering", [Ordering.PARTITION, Ordering.KEY])
def test_a_record_that_waits_for_its_retry_keeps_nothing_else_from_being_committed(ordering):
    e = engine(hands=1, ordering=ordering)
    e.fetched(A, fake_records(0, 1, keys=1))
    e.fetched(B, fake_records(0, 1, keys=1))
    commit(e)

    assert isinstance(e.failed(e.next_run(0.0), Stage.HANDLER, ValueError(), now=0.0), Retry)

    assert commit(e) == {B: 1}


def test_a_partition_that_waits_for_a_retry_gets_nothing_committed_that_could_not_start():
    e = engine(hands=1)
    e.fetched(A, fake_records(0, 50))
    commit(e)
    e.failed(e.next_run(0.0), Stage.HANDLER, ValueError(), now=0.0)

    assert not e.waiting_for_window
    assert commit(e) == {}


def test_what_is_committed_behind_a_handler_that_stands_still_counts_no_more():
    e = engine(hands=2, ordering=Ordering.KEY)
    e.fetched(A, fake_records(0, 3, keys=1))
    e.fetched(B, fake_records(0, 3))
    assert commit(e) == {A: 2}, "both for the one key, as nobody can know before"
    e.next_run(0.0)

    assert commit(e, now=STALLED) == {}
    assert commit(e, now=STALLED * 2) == {A: 1}
    assert commit(e, now=STALLED * 2) == {B: 1}


def test_with_one_handler_partitions_come_in_the_order_in_which_their_records_arrived():
    e = engine(hands=1)
    e.fetched(B, fake_records(0, 1))
    e.fetched(A, fake_records(0, 1))
    e.fetched(B, fake_records(1, 1))
    order = []
    while window := commit(e):
        order += window
        handle(e, e.next_run(0.0), 0.0, seconds=1.0)

    assert order == [B, A, B]


def test_a_partition_that_is_taken_away_leaves_the_queue():
    e = engine(hands=1)
    e.fetched(A, fake_records(0, 50))
    e.fetched(B, fake_records(0, 50))

    e.revoking([A])

    assert commit(e) == {B: 1}
    assert e.buffered == 50


def test_a_window_takes_from_as_many_partitions_as_it_has_room_for():
    e = engine(hands=1, commit_ahead=1.0)
    e.fetched(A, fake_records(0, 100))
    while commit(e) and (run := e.next_run(0.0)):
        handle(e, run, 0.0, seconds=0.001)  # so the window grows
    for tp in (A, B, C):
        e.fetched(tp, fake_records(100, 4))

    # One commit takes some 6 ms, whatever it covers: it must not come a partition at a time.
    assert commit(e) == {A: 4, B: 4, C: 4}
