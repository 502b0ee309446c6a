"""A broker that does not answer: nobody waits for it without a bound, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter

import pytest

from flowodm.consumer.kafka import committer, ending, poller
from flowodm.events import LoopState
from flowodm.exceptions import ConsumerError
from support.brokers.kafka_server import KafkaServer
from support.loops import BOTH, PATIENCE, Gate, brisk
from support.waiting import wait_until

#: Longer than any test: only the loop's own limits may end a wait.
SESSION = {"session_timeout_ms": 60_000, "max_poll_interval_ms": 60_000}


@pytest.fixture(scope="module")
def server(kafka_parts):
    with KafkaServer() as server:
        yield server


@pytest.fixture(scope="module")
def kafka(server) -> str:
    return server.bootstrap_servers


@contextlib.contextmanager
def silent(server):
    """The broker's process stands still: connections stay, nothing is answered."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize("strategy", ["before_processing", "after_processing"])
@pytest.mark.parametrize("kind", BOTH)
def test_stop_ends_the_loop_in_time_while_the_broker_does_not_answer(
    new_bench, server, kind, strategy
):
    """librdkafka itself waits for a commit's answer for up to the session's length."""
    bench, seen = new_bench(), Counter()
    bench.produce(range(1_000))

    def handle(message) -> None:
        time.sleep(0.002)  # work
        seen[message.n] += 1

    options = {"settings": brisk(max_poll_records=100, **SESSION), "drain_timeout": 1.0}
    with bench.run(kind, handle, commit_strategy=strategy, **options) as running:
        wait_until(lambda: len(seen) > 100, PATIENCE, "it is at work")
        with silent(server):
            if strategy == "before_processing":
                wait_until(lambda: not running.status().in_flight, 10, "it waits for the broker")
            running.loop.stop(now=True)
            with contextlib.suppress(ConsumerError):  # the last commit was not confirmed
                running.end(10)

    with bench.run(kind, handle, commit_strategy=strategy, **options) as running:
        wait_until(lambda: bench.committed() == {0: 1_000}, PATIENCE, "the rest is handled")
        running.stop()
    if strategy == "before_processing":
        assert max(seen.values()) == 1
    else:
        assert len(seen) == 1_000


@pytest.mark.parametrize("kind", BOTH)
def test_a_stop_says_that_its_last_offsets_are_not_committed(
    new_bench, server, kind, monkeypatch, caplog
):
    """Nobody takes the end for a clean one, and the next owner has the records."""
    # The bounds are a second here: what is tested is that there are some.
    monkeypatch.setattr(poller, "CALL_TIMEOUT", 1.0)
    monkeypatch.setattr(ending, "CALL_TIMEOUT", 1.0)
    monkeypatch.setattr(committer, "CALL_TIMEOUT", 1.0)
    bench, seen, again = new_bench(), [], []
    bench.produce(range(100))
    with Gate() as gate:

        def handle(message) -> None:
            seen.append(message.n)
            if message.n == 99:
                gate.wait()

        # An idle loop would commit at once; so it stops while the last record is handled.
        options = {"settings": brisk(**SESSION), "commit_interval": 3_600.0, "drain_timeout": 1.0}
        with bench.run(kind, handle, ordering="partition", **options) as running:
            wait_until(lambda: gate.waiting, PATIENCE, "the last record is in its handler")
            with silent(server):
                running.loop.stop()
                gate.open()
                with pytest.raises(ConsumerError, match="could not be committed"):
                    running.end(12)
    assert running.events.commit_errors() != []
    assert "commit failed" in caplog.text
    assert running.status().state is LoopState.STOPPED

    with bench.run(kind, lambda m: again.append(m.n), **options) as running:
        wait_until(lambda: bench.committed() == {0: 100}, PATIENCE, "all is handled")
        running.stop()
    assert {*seen, *again} == {*range(100)}


@pytest.mark.parametrize("kind", BOTH)
def test_now_cuts_the_wait_for_an_answer_that_has_begun_already(new_bench, server, kind):
    """Invariant 12: what is left of a long drain_timeout is not waited for after the second."""
    bench, seen = new_bench(), []
    bench.produce(range(100))
    with Gate() as gate:

        def handle(message) -> None:
            seen.append(message.n)
            if message.n == 99:
                gate.wait()

        options = {"settings": brisk(**SESSION), "commit_interval": 3_600.0, "drain_timeout": 60.0}
        with bench.run(kind, handle, ordering="partition", **options) as running:
            wait_until(lambda: gate.waiting, PATIENCE, "the last record is in its handler")
            with silent(server):
                running.loop.stop()
                gate.open()
                wait_until(lambda: running.status().in_flight == 0, 5, "all is handled")
                over = time.monotonic() + 0.5
                wait_until(lambda: time.monotonic() > over, 5, "it waits for its commit")
                running.loop.stop(now=True)
                with pytest.raises(ConsumerError, match="could not be committed"):
                    running.end(10)


@pytest.mark.parametrize("kind", BOTH)
def test_a_silence_shorter_than_the_session_costs_and_repeats_nothing(new_bench, server, kind):
    bench, seen = new_bench(), []
    options = {"settings": brisk(**SESSION), "commit_interval": 0.1}
    with bench.run(kind, lambda m: seen.append(m.n), **options) as running:
        running.joined(1)
        bench.produce(range(100))
        wait_until(lambda: len(seen) == 100, PATIENCE, "the first part is handled")
        with silent(server):
            over = time.monotonic() + 2.0
            wait_until(lambda: time.monotonic() > over, 5, "2 s of silence")
            assert running.alive
        bench.produce(range(100, 200))
        wait_until(lambda: bench.committed() == {0: 200}, PATIENCE, "it goes on")
        running.stop()
    assert sorted(seen) == list(range(200))
