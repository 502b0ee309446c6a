"""Lanes keep the promised order: what must not run together waits in one lane."""

from __future__ import annotations

import pytest

from flowodm.consumer.engine.lanes import BatchRule, Lanes, Ordering, ReadyLanes
from flowodm.consumer.engine.run import take
from support.fake_records import FakeRecord, fake_records


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


class TestBatches:
    """Lanes of a handler that takes lists: they wait to be full, or due."""

    def lot(self, ordering=Ordering.PARTITION, size=3, timeout=1.0):
        self.ready = ReadyLanes(BatchRule(size, timeout))
        return Lanes(ordering, self.ready, Owner())

    def batch(self, now):
        lane = self.ready.next(now)
        return None if lane is None else take(lane, 3, now, whole=True)

    def test_a_full_batch_starts_at_once(self):
        self.lot().add(fake_records(0, 3), now=5.0)

        assert numbers(self.batch(5.0)) == [0, 1, 2]

    def test_a_smaller_one_waits_for_its_time_and_no_longer(self):
        self.lot().add(fake_records(0, 2), now=5.0)

        assert self.batch(5.9) is None
        assert self.ready.next_due() == 6.0
        assert numbers(self.batch(6.0)) == [0, 1]
        assert self.ready.next_due() is None

    def test_records_that_come_meanwhile_fill_it(self):
        lot = self.lot()
        lot.add(fake_records(0, 2), now=5.0)
        lot.add(fake_records(2, 2), now=5.5)

        assert numbers(self.batch(5.5)) == [0, 1, 2]

    def test_the_wait_of_the_next_one_counts_from_its_first_record(self):
        lot = self.lot()
        lot.add(fake_records(0, 3), now=5.0)
        run = self.batch(5.0)
        lot.add(fake_records(3, 1), now=5.2)

        lot.release(run.lane)  # handling took until 9.0

        assert numbers(self.batch(9.0)) == [3]

    def test_a_partition_that_ends_does_not_wait(self):
        lot = self.lot()
        lot.add(fake_records(0, 2), now=5.0)

        lot.hurry()

        assert numbers(self.batch(5.0)) == [0, 1]

    def test_what_waits_can_be_dropped(self):
        lot = self.lot()
        lot.add(fake_records(0, 2), now=5.0)

        assert len(lot.clear()) == 2
        assert self.batch(9.0) is None
        lot.add(fake_records(0, 2), now=10.0)
        assert self.ready.next_due() == 11.0

    def test_unordered_batches_of_one_partition_may_run_side_by_side(self):
        lot = self.lot(Ordering.UNORDERED)
        lot.add(fake_records(0, 7), now=0.0)

        assert [numbers(self.batch(now)) for now in (0.0, 0.0)] == [[0, 1, 2], [3, 4, 5]]
        assert self.batch(0.9) is None
        lot.add(fake_records(7, 1), now=0.9)
        assert numbers(self.batch(1.0)) == [6, 7]
