"""commit_strategy="before_processing": the broker has confirmed a record before it is handled."""

from __future__ import annotations

import statistics
import threading
import time

import pytest

from flowodm.consumer.kafka.committer import Committer
from flowodm.events import Outcome
from support.brokers.records import Raw
from support.loops import BOTH, KINDS, PATIENCE, POISON, Gate, number
from support.waiting import wait_until

BEFORE = {"commit_strategy": "before_processing"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_clean_run_commits_up_to_the_end_and_handles_each_record_once(new_bench, kind):
    bench, seen = new_bench(partitions=4), []
    bench.produce(range(4_000), partition=lambda n: n % 4, key=lambda n: b"%d" % (n % 50))

    with bench.run(kind, lambda message: seen.append(message.n), **BEFORE) as running:
        wait_until(lambda: len(seen) == 4_000, PATIENCE, "all 4,000 records are handled")
        running.stop()

    assert sorted(seen) == list(range(4_000))
    assert bench.committed() == bench.ends() == dict.fromkeys(range(4), 1_000)
    assert running.events.outcomes() == {Outcome.PROCESSED: 4_000}


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_is_committed_when_its_handler_starts(new_bench, kind):
    """Invariant 1, as another client sees it from within the handler."""
    bench, seen, early = new_bench(partitions=2), [], []
    bench.produce(range(2_000), partition=lambda n: n % 2)

    def handle(message) -> None:
        seen.append(message.n)
        if message.n % 100 < 2:
            committed = bench.committed().get(message.n % 2, 0)
            if committed <= message.n // 2:
                early.append((message.n, committed))

    with bench.run(kind, handle, **BEFORE) as running:
        wait_until(lambda: len(seen) == 2_000, PATIENCE, "all is handled")
        running.stop()

    assert early == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_graceful_stop_in_the_middle_leaves_exactly_what_is_not_committed(new_bench, kind):
    """Invariant 5: what is committed was handled, and the next loop goes on right there."""
    bench, lock = new_bench(partitions=3), threading.Lock()
    bench.produce(range(3_000), partition=lambda n: n % 3)
    first, second = [], []

    def handle(message) -> None:
        time.sleep(0.0005)  # work
        with lock:
            first.append(message.n)
        if message.n % 100 == 50:
            raise ValueError("this one fails")

    with bench.run(kind, handle, **BEFORE) as running:
        wait_until(lambda: len(first) >= 300, PATIENCE, "it is in the middle")
        running.stop()
    committed = bench.committed()
    assert len(first) == sum(committed.values()) < 3_000
    handled = {n for n in range(3_000) if n // 3 < committed.get(n % 3, 0)}
    assert set(first) == handled
    outcomes = running.events.outcomes()
    assert outcomes[Outcome.SKIPPED] == sum(n % 100 == 50 for n in handled)
    assert Outcome.LOST not in outcomes

    with bench.run(kind, lambda message: second.append(message.n), **BEFORE) as running:
        wait_until(lambda: len(first) + len(second) >= 3_000, PATIENCE, "the rest is handled")
        running.stop()
    assert sorted(first + second) == list(range(3_000))


@pytest.mark.parametrize("kind", KINDS)
def test_commit_ahead_0_commits_only_records_for_which_a_handler_is_free(new_bench, kind):
    bench, ahead, lock, started = new_bench(), [], threading.Lock(), []
    handlers = 1 if kind == "sync" else 4
    bench.produce(range(60))

    def handle(message) -> None:
        with lock:
            started.append(message.n)
            ahead.append(bench.committed()[0] - len(started))

    options = {"ordering": "unordered", "commit_ahead": 0, **BEFORE}
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: len(started) == 60, PATIENCE, "all is handled")
        running.stop()

    assert sorted(started) == list(range(60))
    # A handler that starts first sees those committed for the other free handlers.
    assert set(ahead) <= set(range(handlers)), ahead


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_is_committed_ahead_than_the_work_of_commit_ahead(new_bench, kind):
    """10 ms of work a record and 0.1 s ahead: ten records a handler wait at most."""
    bench, ahead, done = new_bench(), [], []
    handlers = 1 if kind == "sync" else 4
    bench.produce(range(150 * handlers))

    def handle(message) -> None:
        time.sleep(0.01)  # work
        if message.n % 10 == 0 and len(done) > 20:
            ahead.append(bench.committed()[0] - len(done))
        done.append(message.n)

    with bench.run(kind, handle, ordering="unordered", **BEFORE) as running:
        wait_until(lambda: len(done) == 150 * handlers, PATIENCE, "all is handled")
        running.stop()

    assert ahead
    assert 0 < max(ahead) <= 10 * handlers + handlers


@pytest.mark.parametrize("kind", BOTH)
def test_what_fails_without_an_error_handler_is_skipped_and_counted(new_bench, kind):
    bench, seen = new_bench(), []
    bench.produce_raw(Raw(number(0), None, 0), Raw(POISON, None, 0), Raw(number(2), None, 0))
    bench.produce(range(3, 100))

    def handle(message) -> None:
        seen.append(message.n)
        if message.n % 10 == 0:
            raise ValueError(message.n)

    with bench.run(kind, handle, **BEFORE) as running:
        wait_until(lambda: running.status().lag == 0, PATIENCE, "all is settled")
        running.stop()

    assert sorted(seen) == [0, *range(2, 100)]
    assert running.events.outcomes() == {Outcome.PROCESSED: 89, Outcome.SKIPPED: 11}
    assert bench.committed() == {0: 100}


@pytest.mark.parametrize("kind", BOTH)
def test_a_stop_cuts_the_wait_before_a_retry_and_still_makes_the_attempts(new_bench, kind):
    bench, attempts = new_bench(), []
    bench.produce(range(1))

    def handle(message) -> None:
        attempts.append(message.n)
        if len(attempts) < 3:
            raise ValueError("not yet")

    options = {"max_retries": 5, "retry_delay": 3_600.0, **BEFORE}
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: len(attempts) == 1, PATIENCE, "the first attempt failed")
        running.stop()

    assert attempts == [0, 0, 0]
    assert running.events.outcomes() == {Outcome.PROCESSED: 1}


@pytest.mark.parametrize("kind", BOTH)
def test_a_partition_that_is_given_up_gets_the_retries_of_its_committed_records(new_bench, kind):
    """Nobody else will handle them: a wait for a retry ends when the partition must go."""
    bench, attempts = new_bench(partitions=2), []
    bench.produce(range(2), partition=lambda n: n)

    def handle(message) -> None:
        attempts.append(message.n)
        if attempts.count(message.n) < 3:
            raise ValueError("not yet")

    options = {"max_retries": 5, "retry_delay": 3_600.0, **BEFORE}
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: set(attempts) == {0, 1}, PATIENCE, "both have failed once")
        with bench.plain_member() as member:
            wait_until(lambda: len(member.owns()) == 1, PATIENCE, "the other member has its share")
            (given_up,) = member.owns()
            kept = 1 - given_up
            assert attempts.count(given_up) == 3
            assert attempts.count(kept) == 1
            assert member.received() == []
        running.stop()

    assert running.events.outcomes() == {Outcome.PROCESSED: 2}


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_that_exits_does_not_hold_up_the_end(new_bench, kind):
    """The rest of the window is lost, which is counted; nobody waits for it."""
    bench = new_bench()
    bench.produce(range(1_000))

    def handle(message) -> None:
        if message.n == 100:
            raise SystemExit(3)

    running = bench.run(kind, handle, drain_timeout=60.0, **BEFORE)
    with running, pytest.raises(SystemExit):
        running.end(20)
    outcomes = running.events.outcomes()
    assert sum(outcomes.values()) == sum(bench.committed().values())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_next_window_is_committed_while_this_one_is_handled(new_bench, kind, monkeypatch):
    """A window is ten records here; each is sent when some of the last one have yet to start."""
    bench, starts, sent, left = new_bench(), [], [0], []
    bench.produce(range(250))
    send = Committer._send

    def spy(self, offsets, window=None):
        if window is not None:
            left.append(sent[0] - len(starts))
            sent[0] += sum(len(records) for _, records in window.chunks)
        return send(self, offsets, window)

    monkeypatch.setattr(Committer, "_send", spy)

    def handle(message) -> None:
        starts.append(message.n)
        time.sleep(0.01)  # work

    with bench.run(kind, handle, max_concurrent=1, **BEFORE) as running:
        wait_until(lambda: len(starts) == 250, PATIENCE, "all is handled")
        running.stop()

    assert len(left) >= 20
    assert statistics.median(left) >= 2, left  # a poller that was held up may come late


@pytest.mark.parametrize("kind", BOTH)
def test_a_stop_while_handlers_wait_finishes_what_is_committed(new_bench, kind):
    bench, done = new_bench(), []
    bench.produce(range(500))
    with Gate() as gate:

        def handle(message) -> None:
            if message.n >= 200:
                gate.wait()
            done.append(message.n)

        with bench.run(kind, handle, **BEFORE) as running:
            wait_until(lambda: gate.waiting, PATIENCE, "a handler waits")
            running.loop.stop()
            wait_until(lambda: running.status().state.value == "draining", 5, "it drains")
            gate.open()
            running.end()

    assert sorted(done) == list(range(bench.committed()[0]))
