"""Members come and go under load: nothing is lost, and nothing repeated that did not fail."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from flowodm.events import Outcome, Rebalanced
from support.loops import BOTH, PATIENCE, Gate, brisk
from support.waiting import wait_until

STRATEGIES = ("after_processing", "before_processing")
PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", "consumer"])


@pytest.fixture(scope="module")
def kafka(brisk_kafka: str) -> str:
    return brisk_kafka


def member(protocol: str, **values):
    return brisk(extra_config={"group.protocol": protocol}, **values)


@PROTOCOLS
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", BOTH)
def test_members_that_join_and_leave_under_load_lose_and_repeat_nothing(
    new_bench, kind, strategy, protocol
):
    bench, seen, lock = new_bench(partitions=4), Counter(), threading.Lock()
    total, pace = 5_000, [0.002]
    bench.produce(range(total), partition=lambda n: n % 4, key=lambda n: b"%d" % (n % 40))

    def handle(message) -> None:
        time.sleep(pace[0])  # work, until both members have been at it
        with lock:
            seen[message.n] += 1

    options = {"settings": member(protocol, max_poll_records=100), "commit_strategy": strategy}
    with bench.run(kind, handle, **options) as first:
        first.joined(4)
        with bench.run(kind, handle, **options) as second:
            second.joined(2)
            first.joined(2)
            handled = len(seen)
            wait_until(lambda: len(seen) > handled + 300, PATIENCE, "both are at it")
            first.stop()
            second.joined(4)
            second.stop()
    assert len(seen) < total
    pace[0] = 0.0
    with bench.run(kind, handle, **options) as third:
        wait_until(lambda: len(seen) == total, PATIENCE, "all is handled")
        third.stop()

    assert [n for n, times in seen.items() if times > 1] == []
    assert bench.committed() == bench.ends()
    for running in (first, second, third):
        assert Outcome.LOST not in running.events.outcomes()
        assert "lost" not in running.events.rebalances()


@PROTOCOLS
def test_a_member_beyond_the_number_of_partitions_has_joined(new_bench, protocol):
    bench = new_bench(partitions=1)
    with bench.run("sync", lambda _: None, settings=member(protocol)) as first:
        first.joined(1)
        with bench.run("sync", lambda _: None, settings=member(protocol)) as second:
            second.joined(0)
            assert first.status().assigned == ((bench.topic, 0),)


@PROTOCOLS
def test_a_member_keeps_working_on_what_it_keeps(new_bench, protocol):
    """The assignor is not an eager one."""
    bench, seen = new_bench(partitions=2), []

    def handle(message) -> None:
        seen.append(message.n)

    with bench.run("sync", handle, settings=member(protocol)) as first:
        first.joined(2)
        with bench.run("sync", lambda _: None, settings=member(protocol)) as second:
            second.joined(1)
            first.joined(1)
        first.joined(2)
        changes = [
            (event.kind.value, len(event.partitions))
            for event in first.events.of(Rebalanced)
            if event.partitions
        ]
    assert changes[:3] == [("assigned", 2), ("revoked", 1), ("assigned", 1)]


@pytest.mark.parametrize("kind", BOTH)
def test_a_handler_that_runs_when_its_partition_is_revoked_finishes_and_is_committed(
    new_bench, kind
):
    bench, done = new_bench(partitions=2), []
    bench.produce(range(2), partition=lambda n: n)
    with Gate() as gate:

        def handle(message) -> None:
            gate.wait()
            done.append(message.n)

        options = {"ordering": "unordered", "max_concurrent": 2}
        with bench.run("threads" if kind == "sync" else kind, handle, **options) as running:
            wait_until(lambda: gate.waiting == 2, PATIENCE, "both run")
            with bench.plain_member() as other:
                deadline = time.monotonic() + 1.0
                wait_until(lambda: other.owns() or time.monotonic() > deadline, 5, "a second")
                assert other.owns() == [], "it waits for the handler"
                gate.open()
                wait_until(lambda: len(other.owns()) == 1, PATIENCE, "now it has its share")
                (moved,) = other.owns()
                assert bench.committed()[moved] == 1
                assert other.received() == []
            running.stop()

    assert sorted(done) == [0, 1]


@pytest.mark.parametrize("kind", BOTH)
def test_a_handler_that_outlives_its_partition_commits_nothing_there(new_bench, kind):
    """Invariant 2: the drain time is over, the partition has moved, the result comes late."""
    bench, done = new_bench(partitions=2), []
    bench.produce(range(20), partition=lambda n: n % 2)
    with Gate() as gate:

        def handle(message) -> None:
            if message.n < 2:
                gate.wait()
            done.append(message.n)

        options = {"max_concurrent": 2, "drain_timeout": 0.5, "ordering": "partition"}
        with bench.run("threads" if kind == "sync" else kind, handle, **options) as running:
            wait_until(lambda: gate.waiting == 2, PATIENCE, "both run")
            with bench.plain_member() as other:
                wait_until(lambda: len(other.owns()) == 1, PATIENCE, "it has its share")
                (moved,) = other.owns()
                wait_until(lambda: len(other.received()) == 10, PATIENCE, "and all its records")
                gate.open()
                wait_until(
                    lambda: bench.committed().get(1 - moved) == 10, PATIENCE, "the rest is done"
                )
                assert bench.committed().get(moved, 0) == 0
                assert sorted(done) == sorted([moved, *range(1 - moved, 20, 2)])
            running.loop.stop()
            running.end()


@PROTOCOLS
def test_a_partition_that_was_paused_when_it_moved_is_fetched_when_it_comes_back(
    new_bench, protocol
):
    bench, seen = new_bench(partitions=2), set()
    bench.produce(range(4_000), partition=lambda n: n % 2)
    with Gate() as gate:

        def handle(message) -> None:
            gate.wait()
            seen.add(message.n)

        options = {"settings": member(protocol, max_poll_records=100), "drain_timeout": 0.2}
        with bench.run("threads", handle, ordering="partition", **options) as first:
            wait_until(lambda: first.status().buffered > 100, PATIENCE, "its buffer is full")
            with bench.run("sync", lambda _: gate.wait(), **options) as second:
                second.joined(1)
                first.joined(1)
                second.loop.stop(now=True)
                first.joined(2)
                gate.open()
                wait_until(lambda: len(seen) == 4_000, PATIENCE, "all is handled")
            first.stop()

    assert bench.committed() == bench.ends()


@pytest.mark.parametrize("kind", BOTH)
def test_an_assignor_that_takes_everything_back_first_loses_and_repeats_nothing(new_bench, kind):
    """The user's own choice of an eager assignor is respected."""
    bench, seen = new_bench(partitions=4), Counter()
    bench.produce(range(2_000), partition=lambda n: n % 4)

    def handle(message) -> None:
        time.sleep(0.001)  # work
        seen[message.n] += 1

    options = {"consumer_config": {"partition.assignment.strategy": "range"}}
    with bench.run(kind, handle, **options) as first:
        first.joined(4)
        with bench.run(kind, handle, **options) as second:
            second.joined(2)
            wait_until(lambda: len(seen) == 2_000, PATIENCE, "all is handled")
            second.stop()
        first.stop()

    assert [n for n, times in seen.items() if times > 1] == []
    assert bench.committed() == bench.ends()
