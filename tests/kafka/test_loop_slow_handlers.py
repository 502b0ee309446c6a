"""Invariant 3: polling never stops, but for a handler that is past max_poll_interval_ms."""

from __future__ import annotations

import asyncio
import time

import pytest

from flowodm.events import Trouble
from flowodm.settings import LongRunningSettings
from support.loops import BOTH, KINDS, PATIENCE, Gate, brisk, number
from support.waiting import wait_until

#: The shortest limit that a classic group allows next to the broker's shortest session.
CLASSIC = {"session_timeout_ms": 6_000, "max_poll_interval_ms": 7_000}
#: KIP-848 leaves the session to the broker, so the limit may be shorter.
NEW = {"max_poll_interval_ms": 1_000, "extra_config": {"group.protocol": "consumer"}}


@pytest.fixture(scope="module")
def kafka(brisk_kafka: str) -> str:
    return brisk_kafka


@pytest.mark.parametrize(
    ("kind", "values"),
    [("sync", CLASSIC), ("threads", NEW), ("async", NEW)],
    ids=["sync-classic", "threads-kip848", "async-kip848"],
)
def test_past_the_limit_the_member_leaves_its_result_is_dropped_and_later_it_rejoins(
    new_bench, kind, values
):
    """Invariant 2: the late result does not move the other member's offset."""
    bench, late, other = new_bench(), [], []
    bench.produce(range(10))
    settings = brisk(**values)
    with Gate() as gate:

        def handle(message) -> None:
            if message.n == 5 and not late:
                gate.wait()
                late.append(message.n)

        with bench.run(kind, handle, ordering="partition", settings=settings) as slow:
            wait_until(lambda: gate.waiting, PATIENCE, "a handler hangs")
            wait_until(lambda: "left" in slow.events.rebalances(), PATIENCE, "the member left")
            assert not slow.status().joined
            assert bench.committed() == {0: 5}, "what was done before it is committed"

            quick = bench.run(
                "sync", lambda m: other.append(m.n), ordering="partition", settings=settings
            )
            with quick:
                wait_until(lambda: len(other) == 5, PATIENCE, "another member handles the record")
                wait_until(lambda: bench.committed() == {0: 10}, PATIENCE, "and commits it")
                commits = len(slow.events.commit_errors())
                gate.open()
                slow.joined()
                quick.stop()
            assert other == [5, 6, 7, 8, 9]
            assert late == [5]
            assert bench.committed() == {0: 10}

            bench.produce(range(10, 20))
            wait_until(lambda: bench.committed() == {0: 20}, PATIENCE, "the first goes on")
            assert len(slow.events.commit_errors()) == commits == 0
            slow.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_handler_with_a_full_buffer_is_fetched_for_again_after_it_came_back(new_bench, kind):
    """Fetching was paused when the member left; the pause must not outlive the membership."""
    bench, seen = new_bench(), []
    bench.produce(range(5_000))
    with Gate() as gate:

        def handle(message) -> None:
            if message.n == 5:
                gate.wait()
            seen.append(message.n)

        settings = brisk(max_poll_records=100, **NEW)
        with bench.run(kind, handle, ordering="partition", settings=settings) as running:
            wait_until(lambda: "left" in running.events.rebalances(), PATIENCE, "it left")
            gate.open()
            wait_until(lambda: bench.committed() == {0: 5_000}, PATIENCE, "all is handled")
            running.stop()

    assert sorted(set(seen)) == list(range(5_000))
    assert len(seen) <= 5_001, "only the record of the late result is repeated"


@pytest.mark.parametrize(
    ("kind", "strategy"), [("sync", "before_processing"), ("async", "after_processing")]
)
def test_many_slow_records_that_are_each_below_the_limit_keep_the_membership(
    new_bench, kind, strategy
):
    """A batch takes three times the limit, no record does."""
    bench = new_bench()
    bench.produce(range(20))

    def handle(_message) -> None:
        time.sleep(0.15)  # work

    settings = brisk(max_poll_records=20, **NEW)
    options = {"settings": settings, "ordering": "partition", "commit_strategy": strategy}
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: running.status().processed == 20, PATIENCE, "all is handled")
        running.stop()

    assert "left" not in running.events.rebalances()
    assert "lost" not in running.events.rebalances()
    assert running.events.of(Trouble) == []
    assert bench.committed() == {0: 20}


def test_a_whole_batch_of_a_hundred_slow_records_keeps_the_membership(new_bench):
    """LongRunningSettings, with a second for its ten minutes: 100 records a fetch, each slow."""
    bench = new_bench()
    bench.produce(range(100))
    settings = LongRunningSettings(**NEW)
    assert settings.max_poll_records == 100

    def handle(_message) -> None:
        time.sleep(0.02)  # work: a fetch takes twice the limit

    with bench.run("sync", handle, settings=settings) as running:
        wait_until(lambda: running.status().processed == 100, PATIENCE, "all is handled")
        running.stop()

    assert running.events.rebalances()[:1] == ["assigned"]
    assert not {"left", "lost"} & set(running.events.rebalances())
    assert bench.committed() == {0: 100}


@pytest.mark.parametrize("strategy", ["before_processing", "after_processing"])
@pytest.mark.parametrize("kind", BOTH)
def test_a_handler_just_below_the_limit_keeps_the_membership_attempt_after_attempt(
    new_bench, kind, strategy
):
    """Three attempts and two waits take three times the limit, no attempt reaches it."""
    bench, attempts = new_bench(), []
    bench.produce(range(1))

    def handle(message) -> None:
        time.sleep(0.7)  # work, of the second that it may take
        attempts.append(message.n)
        if len(attempts) < 3:
            raise ValueError("not yet")

    options = {"max_retries": 2, "retry_delay": 0.5, "commit_strategy": strategy}
    with bench.run(kind, handle, settings=brisk(**NEW), **options) as running:
        wait_until(lambda: running.status().processed == 1, PATIENCE, "the last attempt worked")
        running.stop()

    assert attempts == [0, 0, 0]
    assert not {"left", "lost"} & set(running.events.rebalances())
    assert bench.committed() == {0: 1}


@pytest.mark.parametrize("kind", BOTH)
def test_the_wait_for_a_retry_does_not_count_as_handling(new_bench, kind):
    bench, attempts = new_bench(), []
    bench.produce(range(1))

    def handle(message) -> None:
        attempts.append(message.n)
        if len(attempts) == 1:
            raise ValueError("not yet")

    options = {"max_retries": 1, "retry_delay": 2.5, "settings": brisk(**NEW)}
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: bench.committed() == {0: 1}, PATIENCE, "the second attempt worked")
        running.stop()

    assert "left" not in running.events.rebalances()
    assert "lost" not in running.events.rebalances()
    assert running.events.of(Trouble) == [], "polling went on meanwhile"


def test_other_handlers_finish_when_one_makes_the_member_leave(new_bench):
    """And what they had finished before is committed, the unfinished record is not passed."""
    bench, seen = new_bench(partitions=2), []
    bench.produce(range(40), partition=lambda n: n % 2)
    with Gate() as gate:

        def handle(message) -> None:
            if message.n == 0:
                gate.wait()
            seen.append(message.n)

        options = {"ordering": "unordered", "settings": brisk(**NEW)}
        with bench.run("threads", handle, **options) as running:
            wait_until(lambda: "left" in running.events.rebalances(), PATIENCE, "it left")
            assert len(seen) == 39
            committed = bench.committed()
            assert (committed.get(0, 0), committed[1]) == (0, 20)
            with bench.plain_member() as member:
                wait_until(lambda: member.owns() == [0, 1], PATIENCE, "another member has both")
                wait_until(lambda: number(0) in member.received(), PATIENCE, "and the record")
            gate.open()


def test_pinned_partitions_have_no_membership_to_lose(new_bench):
    bench, seen = new_bench(partitions=2), []
    bench.produce(range(10), partition=lambda n: n % 2)

    def handle(message) -> None:
        if message.n == 0:
            time.sleep(2.5)  # past the limit
        seen.append(message.n)

    options = {"partitions": [0], "settings": brisk(**NEW)}
    with bench.run("sync", handle, **options) as running:
        wait_until(lambda: bench.committed() == {0: 5}, PATIENCE, "all of the partition is done")
        running.stop()

    assert seen == [0, 2, 4, 6, 8]
    assert running.events.rebalances() == ["assigned"]


def test_an_event_loop_that_something_else_holds_up_past_the_limit_leaves_and_comes_back(new_bench):
    bench, seen = new_bench(), []
    bench.produce([0])
    with Gate() as gate:

        async def handle(message) -> None:
            seen.append(message.n)
            if message.n == 0:
                asyncio.get_running_loop().call_soon(gate.wait)  # and no handler runs meanwhile

        with bench.run("async", handle, settings=brisk(**NEW)) as running:
            wait_until(lambda: gate.waiting, PATIENCE, "the event loop is held up")
            assert "left" not in running.events.rebalances(), "there is nothing to do"
            bench.produce(range(1, 10))
            wait_until(lambda: "left" in running.events.rebalances(), PATIENCE, "the member left")
            gate.open()
            wait_until(lambda: len(seen) == 10, PATIENCE, "it came back")
            running.stop()
    assert seen == list(range(10))
    assert bench.committed() == {0: 10}
