"""attempt_timeout: an attempt that takes too long is cancelled and is a failure like any other."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from flowodm import ConfigurationError
from flowodm.events import Failed, Outcome
from flowodm.exceptions import RecordError
from support.brokers.records import Raw
from support.loops import PATIENCE, brisk, number
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LIMIT = 0.2
STRATEGIES = pytest.mark.parametrize("strategy", ["after_processing", "before_processing"])


@STRATEGIES
def test_a_slow_attempt_is_cancelled_at_the_limit_and_tried_again(new_bench, strategy):
    bench, log = new_bench(), []
    bench.produce(range(3))

    async def handle(message: Any) -> None:
        if message.n == 1 and ("cleaned up", 1) not in log:
            began = time.monotonic()
            try:
                await asyncio.sleep(3_600)
            finally:
                await asyncio.sleep(0.01)  # what cleans up may wait, too
                log.append(("cleaned up", 1))
                log.append(("after", time.monotonic() - began))
        log.append(("done", message.n))

    options = {"max_retries": 1, "retry_delay": 0.0, "attempt_timeout": LIMIT}
    options |= {"ordering": "partition", "commit_strategy": strategy}
    with bench.run("async", handle, **options) as running:
        wait_until(lambda: running.status().processed == 3, PATIENCE, "all is handled")
        running.stop()

    assert [what for what in log if what[0] != "after"] == [
        ("done", 0),
        ("cleaned up", 1),
        ("done", 1),
        ("done", 2),
    ]
    ((_, took),) = [what for what in log if what[0] == "after"]
    assert LIMIT <= took < LIMIT + 2
    (failed,) = running.events.of(Failed)
    assert isinstance(failed.error, TimeoutError)
    assert "attempt_timeout" in str(failed.error)
    assert bench.committed() == {0: 3}


@STRATEGIES
def test_after_the_last_attempt_the_error_handler_has_as_much_time_as_it_needs(new_bench, strategy):
    bench, calls = new_bench(), []
    bench.produce(range(2))

    async def handle(message: Any) -> None:
        if message.n == 0:
            await asyncio.sleep(3_600)

    async def handle_error(error: Exception, _raw: Any, message: Any) -> None:
        await asyncio.sleep(3 * LIMIT)
        calls.append((type(error), message.n))

    options = {"max_retries": 1, "retry_delay": 0.0, "attempt_timeout": LIMIT}
    options |= {"error_handler": handle_error, "commit_strategy": strategy}
    with bench.run("async", handle, ordering="partition", **options) as running:
        wait_until(lambda: bench.committed() == {0: 2} and calls, PATIENCE, "all is settled")
        wait_until(lambda: running.status().processed == 1, PATIENCE, "all is handled")
        running.stop()

    assert calls == [(TimeoutError, 0)]
    assert len(running.events.of(Failed)) == 2


async def raise_another() -> None:
    try:
        await asyncio.sleep(3_600)
    except asyncio.CancelledError:
        raise ValueError("instead of the cancellation") from None


async def swallow_and_go_on() -> None:
    try:
        await asyncio.sleep(3_600)
    except asyncio.CancelledError:
        await asyncio.sleep(0.05)


async def own_timeout() -> None:
    async with asyncio.timeout(0.01):
        await asyncio.sleep(3_600)


async def shielded() -> None:
    await asyncio.shield(asyncio.sleep(0.6))


@pytest.mark.parametrize(
    ("wait", "error"),
    [(raise_another, ValueError), (own_timeout, TimeoutError), (shielded, TimeoutError)],
)
def test_whatever_a_handler_makes_of_its_cancellation_is_one_failure_of_its_record(
    new_bench, wait: Callable[[], Awaitable[None]], error
):
    bench, seen = new_bench(), []
    bench.produce(range(3))

    async def handle(message: Any) -> None:
        seen.append(message.n)
        if message.n == 1:
            await wait()

    running = bench.run("async", handle, ordering="partition", attempt_timeout=LIMIT)
    with running, pytest.raises(RecordError) as caught:
        running.end(20)

    assert caught.value.offset == 1
    assert isinstance(caught.value.__cause__, error)
    assert ("attempt_timeout" in str(caught.value.__cause__)) == (wait is shielded)
    assert seen == [0, 1]
    assert bench.committed() == {0: 1}


def test_a_handler_that_swallows_its_cancellation_and_returns_has_handled_its_record(new_bench):
    """It was asked to end, and it did, in its own way; the next record has its whole time."""
    bench, seen = new_bench(), []
    bench.produce(range(3))

    async def handle(message: Any) -> None:
        if message.n == 1:
            await swallow_and_go_on()
        else:
            await asyncio.sleep(LIMIT / 2)
        seen.append(message.n)

    options = {"ordering": "partition", "attempt_timeout": LIMIT}
    with bench.run("async", handle, **options) as running:
        wait_until(lambda: len(seen) == 3, PATIENCE, "all is handled")
        running.stop()

    assert running.events.of(Failed) == []
    assert bench.committed() == {0: 3}


def test_a_handler_that_never_ends_in_spite_of_it_makes_the_member_leave(new_bench):
    """Nothing can end it but itself; the others are not held up by it."""
    bench, release, seen = new_bench(), [], []
    bench.produce(range(2))

    async def handle(message: Any) -> None:
        while message.n == 0 and not release:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                seen.append("cancelled")

    settings = brisk(max_poll_interval_ms=1_000, extra_config={"group.protocol": "consumer"})
    options = {"attempt_timeout": LIMIT, "settings": settings, "ordering": "partition"}
    with bench.run("async", handle, **options) as running:
        wait_until(lambda: "left" in running.events.rebalances(), PATIENCE, "the member left")
        assert bench.committed().get(0, 0) == 0
        release.append(True)
        wait_until(lambda: bench.committed() == {0: 2}, PATIENCE, "it came back")
        running.stop()
    assert seen[0] == "cancelled"


@pytest.mark.parametrize("shape", ["batch", "tombstone"])
def test_the_limit_holds_for_batches_and_tombstones_too(new_bench, shape):
    bench, attempts = new_bench(), []
    values = [None] * 5 if shape == "tombstone" else [number(n) for n in range(5)]
    bench.produce_raw(*(Raw(value, b"k", 0) for value in values))

    async def slow(what: Any) -> None:
        attempts.append(what if shape == "tombstone" else [message.n for message in what])
        if len(attempts) == 1:
            await asyncio.sleep(3_600)

    async def nothing(_message: Any) -> None: ...

    options: dict[str, Any] = {"max_retries": 1, "retry_delay": 0.0, "attempt_timeout": LIMIT}
    options["ordering"] = "partition"
    if shape == "batch":
        options |= {"batch_size": 5, "batch_timeout": 3_600.0}
    else:
        options["tombstone_handler"] = slow
    handler = slow if shape == "batch" else nothing
    with bench.run("async", handler, **options) as running:
        wait_until(lambda: running.status().processed == 5, PATIENCE, "all is handled")
        running.stop()

    assert len(running.events.of(Failed)) == 1
    if shape == "batch":
        assert attempts == [[0, 1, 2, 3, 4]] * 2
    else:
        assert [context.offset for context in attempts] == [0, 0, 1, 2, 3, 4]
    assert running.events.outcomes() == {Outcome.PROCESSED: 5}
    assert bench.committed() == {0: 5}


def test_a_drain_deadline_within_an_attempts_time_cancels_it_and_settles_nothing(new_bench):
    bench, ended = new_bench(), []
    bench.produce(range(2))

    async def handle(_message: Any) -> None:
        try:
            await asyncio.sleep(3_600)
        finally:
            ended.append(time.monotonic())

    options = {"attempt_timeout": 3_600.0, "drain_timeout": 0.3, "ordering": "partition"}
    options |= {"max_retries": 5, "retry_delay": 0.0}
    with bench.run("async", handle, **options) as running:
        wait_until(lambda: running.status().in_flight == 1, PATIENCE, "it runs")
        running.loop.stop()
        running.end(10)

    assert len(ended) == 1
    assert running.events.of(Failed) == []
    assert bench.committed().get(0, 0) == 0


@STRATEGIES
def test_many_attempts_that_end_at_their_limit_lose_and_repeat_nothing(new_bench, strategy):
    """Around the limit: handlers take 0 to 2 limits, ten at a time, until they are quick enough."""
    bench, attempts, done = new_bench(partitions=2), {}, []
    bench.produce(range(120), partition=lambda n: n % 2)

    async def handle(message: Any) -> None:
        attempt = attempts[message.n] = attempts.get(message.n, 0) + 1
        await asyncio.sleep(0.1 * (message.n % 7) / 3 / attempt)
        done.append(message.n)

    options = {"attempt_timeout": 0.1, "max_retries": 10, "retry_delay": 0.0}
    options |= {"ordering": "unordered", "max_concurrent": 10, "commit_strategy": strategy}
    with bench.run("async", handle, **options) as running:
        wait_until(lambda: running.status().processed == 120, PATIENCE, "all is handled")
        running.stop()

    # Done at the very moment of the limit, a record may count as failed and be handled again.
    assert set(done) == set(range(120))
    assert len(done) - 120 <= 5
    assert len(running.events.of(Failed)) > 20
    assert bench.committed() == bench.ends()


def test_a_sync_loop_refuses_a_limit_that_it_could_not_keep(new_bench):
    with pytest.raises((ConfigurationError, TypeError, ValueError), match="attempt_timeout"):
        new_bench().loop("sync", lambda _: None, attempt_timeout=1.0)
