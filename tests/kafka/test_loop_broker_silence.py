"""A broker that does not answer: nobody waits for it without a bound, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter

import pytest
from brokers.kafka_server import KafkaServer
from loops import BOTH, PATIENCE, brisk
from waiting import wait_until

from flowodm.exceptions import ConsumerError

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
    """Pitfall 38. librdkafka waits for a commit's answer for up to the session's length."""
    bench, seen = new_bench(), Counter()
    bench.produce(range(1_000))

    def handle(message) -> None:
        time.sleep(0.002)  # work
        seen[message.n] += 1

    options = {"settings": brisk(max_poll_records=100, **SESSION), "drain_timeout": 1.0}
    with bench.run(kind, handle, commit_strategy=strategy, **options) as running:
        wait_until(lambda: len(seen) > 100, PATIENCE, "it is at work")
        with silent(server):
            wait_until(lambda: not running.status().in_flight, 10, "it waits for the broker") if (
                strategy == "before_processing"
            ) else None
            began = time.monotonic()
            running.loop.stop(now=True)
            with contextlib.suppress(ConsumerError):  # the last commit was not confirmed
                running.end(25)
            assert time.monotonic() - began < 25

    with bench.run(kind, handle, commit_strategy=strategy, **options) as running:
        wait_until(lambda: bench.committed() == {0: 1_000}, PATIENCE, "the rest is handled")
        running.stop()
    if strategy == "before_processing":
        assert max(seen.values()) == 1
    else:
        assert len(seen) == 1_000
