"""What follows a failure: retries, the error handler, skip or stop."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from confluent_kafka import Message

from flowodm import DeserializationError
from flowodm.events import Failed, Outcome, Stage
from flowodm.exceptions import RecordError
from support.brokers.records import Raw
from support.loops import BOTH, PATIENCE, POISON, number
from support.waiting import wait_until

STRATEGIES = ("after_processing", "before_processing")


class FlakyError(Exception):
    """What the handlers here raise."""


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", BOTH)
def test_a_handler_that_raises_three_times_and_then_works_is_retried(new_bench, kind, strategy):
    bench, attempts = new_bench(), []
    bench.produce(range(3))

    def handle(message) -> None:
        attempts.append((message.n, time.monotonic()))
        if message.n == 1 and len([n for n, _ in attempts if n == 1]) <= 3:
            raise FlakyError

    options = {"max_retries": 3, "retry_delay": 0.1, "commit_strategy": strategy}
    with bench.run(kind, handle, ordering="partition", **options) as running:
        wait_until(lambda: running.status().processed == 3, PATIENCE, "all is handled")
        running.stop()

    assert [n for n, _ in attempts] == [0, 1, 1, 1, 1, 2]
    times = [moment for n, moment in attempts if n == 1]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(0.1 <= wait < 1.0 for wait in waits), waits
    assert [event.consequence for event in running.events.of(Failed)] == ["retry"] * 3
    assert bench.committed() == {0: 3}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", BOTH)
def test_the_wait_for_a_retry_holds_up_no_other_partition(new_bench, kind, strategy):
    bench, seen = new_bench(partitions=2), []
    bench.produce(range(0, 200, 2), partition=lambda _: 0)
    bench.produce(range(1, 2_000, 2), partition=lambda _: 1)

    def handle(message) -> None:
        if message.n == 0:
            raise FlakyError
        seen.append(message.n)

    options = {"max_retries": 1, "retry_delay": 3_600.0, "commit_strategy": strategy}
    with bench.run(kind, handle, ordering="partition", **options) as running:
        wait_until(lambda: len(seen) == 1_000, PATIENCE, "the other partition is through")
        bench.produce([2_001], partition=lambda _: 1)
        wait_until(lambda: len(seen) == 1_001, PATIENCE, "and goes on")
        assert seen == [*range(1, 2_000, 2), 2_001]
        running.loop.stop(now=True)
        running.end()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", BOTH)
def test_the_error_handler_gets_error_raw_and_instance_after_the_last_attempt(
    new_bench, kind, strategy
):
    bench, calls, attempts = new_bench(), [], []
    bench.produce_raw(Raw(number(7), b"the key", 0, (("h", b"1"),)))

    def handle(message) -> None:
        attempts.append(message.n)
        raise FlakyError("broken")

    options = {"max_retries": 2, "retry_delay": 0.01, "commit_strategy": strategy}
    options["error_handler"] = lambda *arguments: calls.append(arguments)
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: calls, PATIENCE, "the error handler is called")
        running.stop()

    ((error, raw, instance),) = calls
    assert attempts == [7, 7, 7]
    assert isinstance(error, FlakyError)
    assert isinstance(raw, Message)
    assert (raw.topic(), raw.partition(), raw.offset()) == (bench.topic, 0, 0)
    assert (raw.key(), raw.value(), raw.headers()) == (b"the key", number(7), [("h", b"1")])
    assert instance == bench.model(n=7)
    assert running.events.outcomes() == {Outcome.ERROR_HANDLED: 1}
    assert bench.committed() == {0: 1}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", BOTH)
def test_a_poison_record_reaches_the_error_handler_with_none_and_is_not_retried(
    new_bench, kind, strategy
):
    bench, calls, seen = new_bench(), [], []
    bench.produce_raw(Raw(number(0), None, 0), Raw(POISON, None, 0), Raw(number(2), None, 0))

    options = {"max_retries": 5, "retry_delay": 3_600.0, "commit_strategy": strategy}
    options["error_handler"] = lambda *arguments: calls.append(arguments)
    with bench.run(kind, lambda message: seen.append(message.n), **options) as running:
        wait_until(lambda: len(seen) == 2 and calls, PATIENCE, "all is settled")
        running.stop()

    ((error, raw, instance),) = calls
    assert isinstance(error, DeserializationError)
    assert (error.topic, error.partition, error.offset) == (bench.topic, 0, 1)
    assert raw.value() == POISON
    assert instance is None
    assert bench.committed() == {0: 3}


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("bad", [number(5), POISON], ids=["handler", "poison"])
def test_without_an_error_handler_at_least_once_stops_at_the_record(new_bench, kind, bad):
    bench, seen, again = new_bench(), [], []
    bench.produce(range(5))
    bench.produce_raw(Raw(bad, b"k", 0))
    bench.produce(range(6, 10))

    def handle(message) -> None:
        if message.n == 5:
            raise FlakyError("broken")
        seen.append(message.n)

    with bench.run(kind, handle, ordering="partition") as running, pytest.raises(RecordError) as e:
        running.end()
    assert (e.value.topic, e.value.partition, e.value.offset) == (bench.topic, 0, 5)
    assert bench.topic in str(e.value)
    assert isinstance(e.value.__cause__, FlakyError if bad == number(5) else DeserializationError)
    assert seen == [0, 1, 2, 3, 4]
    assert bench.committed() == {0: 5}

    errors = []
    options = {"error_handler": lambda error, raw, _: errors.append(raw.offset())}
    with bench.run(kind, lambda m: again.append(m.n), ordering="partition", **options) as running:
        wait_until(lambda: bench.committed() == {0: 10}, PATIENCE, "the rest is settled")
        running.stop()
    expected = [6, 7, 8, 9] if bad == POISON else [5, 6, 7, 8, 9]
    assert again == expected, "a restart begins with that record"
    assert errors == ([5] if bad == POISON else [])


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_error_handler_that_raises_stops_the_loop_at_the_record(new_bench, kind, strategy):
    bench, seen = new_bench(), []
    bench.produce(range(10))

    def handle(message) -> None:
        if message.n == 5:
            raise FlakyError("broken")
        seen.append(message.n)

    def handle_error(_error, _raw, _instance) -> None:
        raise OSError("the table of errors is gone")

    options = {"error_handler": handle_error, "commit_strategy": strategy}
    options |= {"ordering": "partition", "commit_ahead": 0}
    running = bench.run(kind, handle, **options)
    with running, pytest.raises(RecordError, match="the table of errors is gone") as caught:
        running.end()

    assert caught.value.offset == 5
    assert isinstance(caught.value.__cause__, OSError)
    assert any("broken" in note for note in caught.value.__cause__.__notes__)
    stages = [event.stage for event in running.events.of(Failed)]
    assert stages == [Stage.HANDLER, Stage.ERROR_HANDLER]
    assert seen[:5] == [0, 1, 2, 3, 4]
    if strategy == "after_processing":
        assert bench.committed() == {0: 5}


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_error_handler_that_exits_ends_the_loop_at_once(new_bench, kind, strategy):
    bench = new_bench()
    bench.produce(range(100))

    def handle(message) -> None:
        if message.n == 5:
            raise FlakyError("broken")

    def handle_error(_error, _raw, _instance) -> None:
        raise SystemExit(3)

    options = {"error_handler": handle_error, "commit_strategy": strategy}
    options |= {"ordering": "partition", "drain_timeout": 60.0}
    running = bench.run(kind, handle, **options)
    with running, pytest.raises(SystemExit):
        running.end(20)

    if strategy == "after_processing":
        assert bench.committed() == {0: 5}


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("escape", [SystemExit(3), KeyboardInterrupt()], ids=["exit", "ctrl-c"])
def test_a_handler_that_exits_stops_the_loop_and_its_record_is_not_committed(
    new_bench, kind, escape
):
    bench, seen = new_bench(), []
    bench.produce(range(10))

    def handle(message) -> None:
        if message.n == 5:
            raise escape
        seen.append(message.n)

    running = bench.run(kind, handle, ordering="partition", drain_timeout=60.0)
    with running, pytest.raises(type(escape)):
        running.end(20)

    assert seen == [0, 1, 2, 3, 4]
    assert bench.committed() == {0: 5}


@pytest.mark.parametrize("kind", ["threads", "async"])
def test_on_failure_stop_lets_the_running_handlers_finish(new_bench, kind):
    """Nobody is left behind when one record ends the loop."""
    bench, done, failed = new_bench(), [], threading.Event()
    bench.produce(range(4))

    def handle(message) -> None:
        if message.n == 0:
            failed.set()
            raise FlakyError("broken")
        failed.wait(PATIENCE)
        time.sleep(0.2)  # work that goes on when the loop is told to stop
        done.append(message.n)

    running = bench.run(kind, handle, ordering="unordered", max_concurrent=4)
    with running, pytest.raises(RecordError):
        running.end()

    assert set(done) <= {1, 2, 3}
    outcomes = running.events.outcomes()
    assert outcomes.get(Outcome.PROCESSED, 0) == len(done)
    assert bench.committed().get(0, 0) == 0


@pytest.mark.parametrize("kind", BOTH)
def test_a_record_that_fails_does_not_take_along_what_was_done_before_it(new_bench, kind):
    """on_failure="skip" at least once: counted, committed, and the next records are handled."""
    bench, seen = new_bench(), []
    bench.produce(range(100))

    def handle(message) -> None:
        if message.n % 10 == 3:
            raise FlakyError
        seen.append(message.n)

    with bench.run(kind, handle, on_failure="skip") as running:
        wait_until(lambda: bench.committed() == {0: 100}, PATIENCE, "all is committed")
        running.stop()

    assert sorted(seen) == [n for n in range(100) if n % 10 != 3]
    assert running.events.outcomes() == {Outcome.PROCESSED: 90, Outcome.SKIPPED: 10}
