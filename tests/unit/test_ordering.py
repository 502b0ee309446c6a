"""Lanes keep the promised order: what must not run together waits in one lane."""

from __future__ import annotations

import pytest
from fake_records import FakeRecord, fake_records

from flowodm.consumer.ordering import Lanes, Ordering, ReadyLanes, take


class Owner:
    """Stands for the partition, which the lanes only carry along."""


def lanes(ordering: Ordering):
    ready = ReadyLanes()
    return Lanes(ordering, ready, Owner()), ready.queue


def numbers(run) -> list[int]:
    return [record.offset() for record in run.records]


def test_a_partition_is_one_lane_in_offset_order():
    lot, ready = lanes(Ordering.PARTITION)

    lot.add(fake_records(0, 3, keys=2), now=0.0)
    lot.add(fake_records(3, 2, keys=2), now=0.0)

    assert len(ready) == 1
    assert numbers(take(ready.popleft(), 500, now=0.0)) == [0, 1, 2, 3, 4]


def test_each_key_is_a_lane_of_its_own():
    lot, ready = lanes(Ordering.KEY)

    lot.add(fake_records(0, 6, keys=3), now=0.0)

    assert [numbers(take(lane, 500, now=0.0)) for lane in ready] == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("ordering", [Ordering.KEY, Ordering.UNORDERED])
def test_records_without_a_key_wait_for_nobody(ordering):
    lot, ready = lanes(ordering)

    lot.add(fake_records(0, 3), now=0.0)

    assert [numbers(take(lane, 500, now=0.0)) for lane in ready] == [[0], [1], [2]]


def test_the_same_key_waits_while_its_lane_runs():
    lot, ready = lanes(Ordering.KEY)
    lot.add([FakeRecord(0, b"a")], now=0.0)
    running = ready.popleft()
    take(running, 500, now=0.0)

    lot.add([FakeRecord(1, b"a"), FakeRecord(2, b"b")], now=0.0)

    assert [lane.key for lane in ready] == [b"b"]
    lot.release(running)
    assert [lane.key for lane in ready] == [b"b", b"a"]


def test_a_run_is_no_longer_than_asked_for():
    lot, ready = lanes(Ordering.PARTITION)
    lot.add(fake_records(0, 5), now=0.0)
    lane = ready.popleft()

    first = take(lane, 2, now=0.0)
    lot.release(lane)
    second = take(ready.popleft(), 2, now=0.0)

    assert (numbers(first), numbers(second)) == ([0, 1], [2, 3])


def test_an_idle_key_leaves_nothing_behind():
    lot, ready = lanes(Ordering.KEY)
    lot.add(fake_records(0, 100, keys=100), now=0.0)

    for _ in range(100):
        lane = ready.popleft()
        take(lane, 500, now=0.0)
        lot.release(lane)

    assert not lot._by_key


def test_clearing_one_partition_leaves_the_others_ready():
    ready = ReadyLanes()
    lot, other = (Lanes(Ordering.KEY, ready, Owner()) for _ in range(2))
    lot.add(fake_records(0, 3), now=0.0)
    other.add(fake_records(0, 2), now=0.0)

    dropped = lot.clear()

    assert [record.offset() for record in dropped] == [0, 1, 2]
    assert [lane.owner for lane in ready.queue] == [other, other]


def test_clearing_also_drops_what_waits_behind_a_running_lane():
    lot, ready = lanes(Ordering.PARTITION)
    lot.add(fake_records(0, 2), now=0.0)
    take(ready.popleft(), 500, now=0.0)
    lot.add(fake_records(2, 3), now=0.0)

    assert len(lot.clear()) == 3


def test_failures_are_counted_for_each_record_by_itself():
    lot, ready = lanes(Ordering.PARTITION)
    lot.add(fake_records(0, 2), now=0.0)
    run = take(ready.popleft(), 500, now=0.0)

    counts = [run.count_failure(), run.count_failure()]
    run.done = 1
    counts.append(run.count_failure())

    assert counts == [1, 2, 1]
