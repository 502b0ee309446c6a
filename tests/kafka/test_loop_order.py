"""Invariant 4: what is in order stays in order, one at a time, retries included."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import pytest

from support.loops import KINDS, PATIENCE, Gate
from support.waiting import wait_until

CONCURRENT = ("threads", "async")
STRATEGIES = ("after_processing", "before_processing")


class Lanes:
    """Notes which records ran at the same time, and in which order they were done."""

    def __init__(self, lane_of) -> None:
        self._lane_of = lane_of
        self._lock = threading.Lock()
        self._running = defaultdict(int)
        self.overlaps = 0
        self.most = 0
        self.done = defaultdict(list)
        self.attempts = defaultdict(int)

    def handle(self, message, fails: int = 0) -> None:
        lane = self._lane_of(message.n)
        with self._lock:
            self._running[lane] += 1
            self.overlaps += self._running[lane] > 1
            self.most = max(self.most, sum(self._running.values()))
            self.attempts[message.n] += 1
            attempt = self.attempts[message.n]
        try:
            time.sleep(0.0005 * (message.n % 4))  # work of different lengths
            if attempt <= fails:
                raise ValueError(f"attempt {attempt} of {message.n}")
            with self._lock:
                self.done[lane].append(message.n)
        finally:
            with self._lock:
                self._running[lane] -= 1

    @property
    def total(self) -> int:
        return sum(len(done) for done in self.done.values())


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_records_of_a_partition_are_handled_one_at_a_time_in_offset_order(
    new_bench, kind, strategy
):
    bench, lanes = new_bench(partitions=4), Lanes(lambda n: n % 4)
    bench.produce(range(800), partition=lambda n: n % 4, key=lambda n: b"%d" % (n % 20))

    def handle(message) -> None:
        lanes.handle(message, fails=2 if message.n % 50 == 7 else 0)

    options = {"commit_strategy": strategy, "max_retries": 3, "retry_delay": 0.01}
    with bench.run(kind, handle, ordering="partition", **options) as running:
        wait_until(lambda: lanes.total == 800, PATIENCE, "all is handled")
        running.stop()

    assert lanes.done == {p: list(range(p, 800, 4)) for p in range(4)}
    assert lanes.overlaps == 0
    assert kind == "sync" or lanes.most > 1, "different partitions do run at the same time"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", CONCURRENT)
def test_records_of_a_key_are_handled_one_at_a_time_in_offset_order(new_bench, kind, strategy):
    bench, lanes = new_bench(), Lanes(lambda n: n % 10)
    bench.produce(range(800), key=lambda n: b"key %d" % (n % 10))

    def handle(message) -> None:
        lanes.handle(message, fails=2 if message.n % 50 == 7 else 0)

    options = {"commit_strategy": strategy, "max_retries": 3, "retry_delay": 0.01}
    with bench.run(kind, handle, ordering="key", max_concurrent=6, **options) as running:
        wait_until(lambda: lanes.total == 800, PATIENCE, "all is handled")
        running.stop()

    assert lanes.done == {k: list(range(k, 800, 10)) for k in range(10)}
    assert lanes.overlaps == 0
    assert lanes.most == 6, "different keys of one partition do run at the same time"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("ordering", "key"), [("unordered", b"one"), ("key", None)])
@pytest.mark.parametrize("kind", CONCURRENT)
def test_without_an_order_as_many_run_as_there_are_handlers(
    new_bench, kind, ordering, key, strategy
):
    """One partition, and one key for all or none: nothing but the order would hold them back."""
    bench = new_bench()
    bench.produce(range(20), key=lambda _: key)

    with Gate() as gate:
        options = {"ordering": ordering, "max_concurrent": 8, "commit_strategy": strategy}
        with bench.run(kind, lambda _: gate.wait(), **options) as running:
            wait_until(lambda: gate.waiting == 8, PATIENCE, "eight handlers run")
            assert running.status().in_flight == 8
            gate.open()
            wait_until(lambda: running.status().processed == 20, PATIENCE, "all is handled")


@pytest.mark.parametrize("kind", CONCURRENT)
def test_one_key_in_two_partitions_is_two_orders(new_bench, kind):
    bench = new_bench(partitions=2)
    bench.produce(range(2), key=lambda _: b"same", partition=lambda n: n)

    with Gate() as gate:
        options = {"ordering": "key", "max_concurrent": 2}
        with bench.run(kind, lambda _: gate.wait(), **options):
            wait_until(lambda: gate.waiting == 2, PATIENCE, "both run")
            gate.open()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", CONCURRENT)
def test_a_record_that_waits_for_its_retry_holds_back_its_key_and_no_other(
    new_bench, kind, strategy
):
    bench, lanes = new_bench(), Lanes(lambda n: n % 2)
    bench.produce(range(200), key=lambda n: b"key %d" % (n % 2))

    def handle(message) -> None:
        lanes.handle(message, fails=1 if message.n == 0 else 0)

    options = {"commit_strategy": strategy, "max_retries": 1, "retry_delay": 3_600.0}
    with bench.run(kind, handle, ordering="key", **options) as running:
        wait_until(lambda: len(lanes.done[1]) == 100, PATIENCE, "the other key is through")
        assert lanes.done[0] == []
        assert lanes.attempts[0] == 1
        running.stop()

    expected = {"after_processing": [], "before_processing": list(range(0, 200, 2))}[strategy]
    assert lanes.done[0] == expected
    assert bench.committed()[0] == {"after_processing": 0, "before_processing": 200}[strategy]
