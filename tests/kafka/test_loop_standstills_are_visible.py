"""One partition stands still while its member looks healthy; the status tells."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from flowodm.events import LoopStatus
from flowodm.metrics import PrometheusObserver
from support.loops import PATIENCE, Gate
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.loops import Bench, Running

CONCURRENT = ("threads", "async")
RECORDS = 200
STRATEGIES = pytest.mark.parametrize("strategy", ["after_processing", "before_processing"])


def lags(bench: Bench, running: Running) -> dict[int, int]:
    """Partition to lag, as the loop sees it."""
    known = dict(running.status().lags)
    return {partition: known.get((bench.topic, partition), -1) for partition in range(2)}


@STRATEGIES
@pytest.mark.parametrize("kind", CONCURRENT)
def test_a_handler_that_hangs_shows_its_age_and_its_partitions_lag(new_bench, kind, strategy):
    """The other partition's lag is 0 meanwhile, and the sum alone would not say whose it is."""
    bench, metrics = new_bench(partitions=2), CollectorRegistry()
    bench.produce(range(RECORDS), partition=lambda n: n % 2)
    prometheus = PrometheusObserver(metrics, consumer="c", slot="0")
    with Gate() as gate:

        def handle(message: Any) -> None:
            if message.n == 20:  # offset 10 of partition 0
                gate.wait()

        options = {
            "ordering": "partition",
            "commit_strategy": strategy,
            "observers": [prometheus],
        }
        with bench.run(kind, handle, **options) as running:
            wait_until(lambda: gate.waiting, PATIENCE, "a handler hangs")
            wait_until(
                lambda: lags(bench, running) == {0: RECORDS // 2 - 10, 1: 0},
                PATIENCE,
                "the one lags by what it has not settled, and the other one by nothing",
            )
            status = running.status()
            assert status.lag == RECORDS // 2 - 10
            assert status.in_flight == 1
            wait_until(
                lambda: running.status().oldest_handler_seconds > 1.5,
                PATIENCE,
                "the age of the handler grows",
            )

            def exported(name: str, **labels: str) -> float | None:
                return metrics.get_sample_value(name, {"consumer": "c", "slot": "0", **labels})

            def shown() -> bool:
                place = {"topic": bench.topic, "partition": "0"}
                lag = exported("flowodm_consumer_lag", **place)
                age = exported("flowodm_oldest_handler_seconds")
                return lag == RECORDS // 2 - 10 and age is not None and age > 1.0

            wait_until(shown, PATIENCE, "Prometheus sees both")
            granted = running.loop.settings.max_poll_interval_ms / 1000
            assert exported("flowodm_max_poll_interval_seconds") == granted

            gate.open()
            wait_until(lambda: lags(bench, running) == {0: 0, 1: 0}, PATIENCE, "it goes on")
            assert running.status().oldest_handler_seconds < 1.0
            running.stop()

    assert any(event.oldest_handler_seconds > 1.0 for event in running.events.of(LoopStatus))


@STRATEGIES
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_record_that_waits_for_its_retry_shows_as_lag_and_not_as_a_slow_handler(
    new_bench, kind, strategy
):
    bench = new_bench(partitions=2)
    bench.produce(range(RECORDS), partition=lambda n: n % 2)

    def handle(message: Any) -> None:
        if message.n == 20:
            raise ValueError("not yet")

    options = {"max_retries": 1, "retry_delay": 3_600.0, "commit_strategy": strategy}
    with bench.run(kind, handle, ordering="partition", **options) as running:
        wait_until(
            lambda: lags(bench, running) == {0: RECORDS // 2 - 10, 1: 0},
            PATIENCE,
            "the one lags and the other one does not",
        )
        later = time.monotonic() + 1.5
        wait_until(lambda: time.monotonic() > later, 5, "it waits")
        assert running.status().oldest_handler_seconds < 1.0
        assert running.status().in_flight == 0
        running.loop.stop(now=True)
        running.end()


@pytest.mark.parametrize("kind", CONCURRENT)
def test_the_oldest_handler_is_the_one_that_is_told_among_many_quick_ones(new_bench, kind):
    bench, seen = new_bench(), set()
    bench.produce(range(2_000), key=lambda n: b"%d" % (n % 50))
    with Gate() as gate:

        def handle(message: Any) -> None:
            if message.n == 0:
                gate.wait()
            seen.add(message.n)

        with bench.run(kind, handle, ordering="key") as running:
            wait_until(lambda: len(seen) == 2_000 - 40, PATIENCE, "the other keys are through")
            bench.produce(range(2_001, 2_049), key=lambda n: b"%d" % (n % 50))
            wait_until(lambda: len(seen) >= 2_000, PATIENCE, "and go on")
            wait_until(
                lambda: running.status().oldest_handler_seconds > 1.0, PATIENCE, "one is old"
            )
            gate.open()
            running.stop()
