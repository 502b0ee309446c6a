"""pause() and resume(): nothing new begins, the membership stays, nothing is lost or repeated."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from flowodm.events import Trouble
from support.loops import KINDS, PATIENCE, brisk
from support.waiting import wait_until

STRATEGIES = ("after_processing", "before_processing")


def calm(seen, seconds=0.5):
    """Wait until nothing has been handled for so long."""
    last = [sum(seen.values()), time.monotonic()]

    def still():
        now = sum(seen.values())
        if now != last[0]:
            last[:] = [now, time.monotonic()]
        return time.monotonic() - last[1] > seconds

    wait_until(still, PATIENCE, "nothing is handled any more")
    return last[0]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_paused_loop_handles_nothing_keeps_its_partitions_and_goes_on(new_bench, kind, strategy):
    bench, seen = new_bench(partitions=2), Counter()
    bench.produce(range(3_000), partition=lambda n: n % 2)

    def handle(message) -> None:
        time.sleep(0.001)
        seen[message.n] += 1

    settings = brisk(max_poll_interval_ms=1_000, extra_config={"group.protocol": "consumer"})
    options = {"commit_strategy": strategy, "settings": settings}
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: sum(seen.values()) > 100, PATIENCE, "it handles")
        running.loop.pause()
        handled = calm(seen, 1.5)  # for longer than the poll interval
        assert handled < 3_000
        assert len(running.status().assigned) == 2

        running.loop.resume()
        wait_until(lambda: sum(seen.values()) == 3_000, PATIENCE, "all is handled")
        running.stop()

    assert set(seen.values()) == {1}
    assert sum(bench.committed().values()) == 3_000
    assert running.events.rebalances() == ["assigned", "revoked"]
    assert running.events.of(Trouble) == []


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_paused_loop_stops_and_the_next_one_goes_on_where_it_was(new_bench, kind, strategy):
    bench, seen = new_bench(), Counter()
    bench.produce(range(1_000))

    def handle(message) -> None:
        time.sleep(0.001)
        seen[message.n] += 1

    with bench.run(kind, handle, commit_strategy=strategy) as running:
        wait_until(lambda: sum(seen.values()) > 50, PATIENCE, "it handles")
        running.loop.pause()
        calm(seen)
        running.stop()
    with bench.run(kind, handle, commit_strategy=strategy) as running:
        wait_until(lambda: sum(seen.values()) >= 1_000, PATIENCE, "all is handled")
        running.stop()

    assert set(seen.values()) == {1}
    assert bench.committed() == {0: 1_000}


def test_a_loop_that_is_paused_before_it_runs_handles_nothing(new_bench):
    bench, seen = new_bench(), []
    bench.produce(range(3))
    running = bench.run("sync", lambda m: seen.append(m.n))
    running.loop.pause()
    with running:
        running.joined()
        wait_until(lambda: running.status().paused == 1, PATIENCE, "its partition is paused")
        assert seen == []

        running.loop.resume()
        wait_until(lambda: len(seen) == 3, PATIENCE, "all is handled")
        running.stop()
