"""Invariant 6: what is fetched and not settled is bounded; and what the bound must not cost."""

from __future__ import annotations

import math
import time
from collections import Counter

import pytest

from flowodm.consumer.engine.backpressure import IDLE_FETCHES, MARGIN
from flowodm.consumer.engine.commit import MOST_AHEAD
from flowodm.consumer.engine.rules import Rules
from flowodm.consumer.kafka.poller import SLICE
from flowodm.events import LoopStatus, Trouble
from support.brokers.records import Raw
from support.loops import BOTH, KINDS, PATIENCE, Gate, brisk, number
from support.waiting import wait_until

STRATEGIES = ("after_processing", "before_processing")
#: How often a poller with a full buffer looks after its client's callbacks before it pauses.
LOOKS = math.ceil((Rules().fetch_wait + MARGIN) / SLICE) + 1
#: KIP-848 allows so short a poll interval; see test_loop_slow_handlers.py.
SHORT_POLL = {"max_poll_interval_ms": 1_000, "extra_config": {"group.protocol": "consumer"}}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_that_stands_still_stops_the_fetching_of_its_partition_only(
    new_bench, kind, strategy
):
    """50,000 records wait. One partition stands still, the others go on."""
    bench, seen, stalled = new_bench(partitions=3), Counter(), Counter()
    bench.produce(range(50_000), partition=lambda n: n % 5 and 0)
    for partition in (1, 2):
        bench.produce(
            range(100_000 * partition, 100_000 * partition + 3_000),
            partition=lambda _, p=partition: p,
        )
    fetch = 200
    with Gate() as gate:

        def handle(message) -> None:
            if message.n < 50_000:
                stalled[0] += 1
                gate.wait()
            seen[message.n] += 1

        options = {
            "settings": brisk(max_poll_records=fetch),
            "ordering": "partition",
            "commit_strategy": strategy,
            "max_concurrent": 1 if kind == "sync" else 4,
        }
        with bench.run(kind, handle, **options) as running:
            wait_until(lambda: gate.waiting, PATIENCE, "a handler stands still")
            if kind != "sync":
                wait_until(lambda: len(seen) == 6_000, PATIENCE, "the others are through")
                bench.produce([200_000 - 1], partition=lambda _: 1)
                wait_until(lambda: len(seen) == 6_001, PATIENCE, "and go on")
            most = max(event.buffered for event in running.events.of(LoopStatus))
            # Two fetches, or more while handlers are idle or so fast that windows are large; one
            # fetch more for each partition that was empty when it was full; and the record that
            # comes along each time its client's callbacks are served.
            filled = 2 * MOST_AHEAD if strategy == "before_processing" else IDLE_FETCHES * fetch
            assert most <= filled + 3 * fetch + LOOKS
            running.loop.stop(now=True)
            gate.open()
            running.end()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", BOTH)
def test_polling_goes_on_with_a_full_buffer_and_nothing_is_lost_or_repeated(
    new_bench, kind, strategy
):
    """Invariant 3: pauses and resumes, for longer than the poll interval that Kafka allows."""
    bench, seen = new_bench(), Counter()
    bench.produce(range(5_000))

    def handle(message) -> None:
        if 500 <= message.n < 510:
            time.sleep(0.3)  # ten of them fill the buffer for three times the poll interval
        seen[message.n] += 1

    options = {
        "settings": brisk(max_poll_records=100, **SHORT_POLL),
        "ordering": "partition",
        "commit_strategy": strategy,
    }
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: len(seen) == 5_000, PATIENCE, "all is handled")
        running.stop()

    assert set(seen.values()) == {1}
    assert bench.committed() == {0: 5_000}
    assert running.events.of(Trouble) == []
    assert not {"lost", "left"} & set(running.events.rebalances())


@pytest.mark.parametrize("kind", ["sync"])
def test_the_buffer_is_bounded_by_bytes_too(new_bench, kind):
    """Large records: what is buffered is a fetch and a handful beyond 64 MB at most."""
    bench = new_bench()
    big = number(1) + b"x" * 900_000  # no record of the model: it goes to the error handler
    bench.produce_raw(*(Raw(big, None, 0) for _ in range(150)))
    with Gate() as gate:
        options = {
            "settings": brisk(max_poll_records=10),
            "error_handler": lambda *_: gate.wait(),
            "ordering": "partition",
        }
        with bench.run(kind, lambda _: None, **options) as running:
            wait_until(lambda: gate.waiting, PATIENCE, "a handler stands still")
            full = time.monotonic() + 2
            wait_until(lambda: time.monotonic() > full, 5, "2 s of fetching")
            assert running.status().buffered <= 64 * 1_048_576 // 900_000 + 1 + 10 + LOOKS
            running.loop.stop(now=True)
            gate.open()
            running.end()


def test_a_fetch_takes_no_more_than_max_poll_records(new_bench):
    bench = new_bench()
    bench.produce(range(5_000))
    with Gate() as gate:
        settings = brisk(max_poll_records=7)
        with bench.run("sync", lambda _: gate.wait(), settings=settings) as running:
            wait_until(lambda: gate.waiting, PATIENCE, "a handler stands still")
            calm = time.monotonic() + 2
            wait_until(lambda: time.monotonic() > calm, 5, "two seconds")
            # And one with each look after the client's callbacks, until the fetching is paused.
            assert running.status().buffered <= 2 * 7 + LOOKS
            gate.open()
            running.loop.stop(now=True)


def test_one_record_a_fetch_works(new_bench):
    bench, seen = new_bench(), []
    bench.produce(range(200))
    options = {"settings": brisk(max_poll_records=1), "poll_timeout": 0.05}
    with bench.run("sync", lambda m: seen.append(m.n), **options) as running:
        wait_until(lambda: len(seen) == 200, PATIENCE, "all is handled")
        running.stop()
    assert seen == list(range(200))
