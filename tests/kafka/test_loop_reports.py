"""What a loop tells: outcomes, metrics, lag, its log; and that telling it does no harm."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import urllib.request
from collections import Counter

import pytest
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from flowodm.consumer.loop.log import IN_FULL
from flowodm.events import Blocked, Committed, Ended, EndReason, LoopStatus, Outcome
from flowodm.exceptions import RecordError
from flowodm.metrics import PrometheusObserver
from support.brokers.records import Raw
from support.loops import BOTH, KINDS, PATIENCE, POISON, Gate, Running, brisk, number
from support.waiting import wait_until, wait_until_async

STRATEGIES = ("after_processing", "before_processing")


def parsed(text: str) -> dict[tuple[str, ...], float]:
    """Name, slot and the values of the other labels, in alphabetical order, to value."""
    found = {}
    for family in text_string_to_metric_families(text):
        for name, labels, value, *_ in family.samples:
            rest = (v for k, v in sorted(labels.items()) if k not in {"consumer", "slot"})
            found[name, labels.get("slot"), *rest] = value
    return found


def samples(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """What Prometheus would scrape; of slot 0, which is then left out."""
    found = parsed(generate_latest(registry).decode())
    return {(name, *labels): value for (name, slot, *labels), value in found.items() if slot == "0"}


def facts(caplog: pytest.LogCaptureFixture) -> list[dict]:
    return [record.flowodm for record in caplog.records if hasattr(record, "flowodm")]


# ---- metrics -----------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_prometheus_counters_equal_the_records(new_bench, kind, strategy):
    bench, attempts = new_bench(partitions=2), Counter()
    records = []
    for n in range(2_000):
        value = {0: None, 1: POISON}.get(n % 100, number(n))
        records.append(Raw(value, b"%d" % (n % 10), n % 2))
    bench.produce_raw(*records)

    def handle(message) -> None:
        attempts[message.n] += 1
        if message.n % 100 == 2:
            raise ValueError("always")
        if message.n % 100 == 3 and attempts[message.n] == 1:
            raise ValueError("once")

    registry = CollectorRegistry()
    options = {
        "commit_strategy": strategy,
        "max_retries": 1,
        "retry_delay": 0.01,
        "error_handler": lambda *_: None,
        "observers": [PrometheusObserver(registry, consumer="numbers")],
    }
    with bench.run(kind, handle, **options) as running:
        wait_until(lambda: bench.committed() == bench.ends(), PATIENCE, "all is committed")
        wait_until(lambda: running.status().buffered == 0, PATIENCE, "all is settled")
        running.stop()

    found = samples(registry)
    messages = {
        labels[0]: value
        for (name, *labels), value in found.items()
        if name == "flowodm_messages_total" and value
    }
    assert messages == {"processed": 1_940, "tombstone": 20, "error_handled": 40}
    assert found["flowodm_retries_total",] == 40
    assert found["flowodm_failures_total", "handler"] == 60
    assert found["flowodm_failures_total", "deserialize"] == 20
    assert found["flowodm_handler_seconds_count",] == 2_000
    assert found["flowodm_commits_total", "error"] == 0
    assert found["flowodm_commits_total", "ok"] > 0
    assert found["flowodm_commit_seconds_count",] == found["flowodm_commits_total", "ok"]
    assert found["flowodm_drain_seconds_count",] == 1
    assert found["flowodm_in_flight",] == 0
    assert running.status().processed == 1_940


def test_the_metrics_are_scraped_over_http_while_loops_run_that_share_a_registry(new_bench):
    bench, registry = new_bench(partitions=2), CollectorRegistry()
    bench.produce(range(100), partition=lambda n: n % 2)
    server, thread = start_http_server(0, "127.0.0.1", registry)

    def scrape() -> dict[tuple[str, ...], float]:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return parsed(answer.read().decode())

    def processed() -> list[float]:
        found = scrape()
        return [found["flowodm_messages_total", slot, "processed"] for slot in "01"]

    with contextlib.ExitStack() as stack:
        stack.callback(thread.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        for slot, kind in enumerate(BOTH):
            observer = PrometheusObserver(registry, consumer="numbers", slot=str(slot))
            options = {"partitions": [slot], "observers": [observer]}
            stack.enter_context(bench.run(kind, lambda _: None, **options))
        wait_until(lambda: processed() == [50, 50], PATIENCE, "both loops' records are scraped")

        wait_until(
            lambda: scrape().get(("flowodm_consumer_lag", "1", "1", bench.topic)) == 0,
            PATIENCE,
            "the lag is scraped",
        )
        found = scrape()
        assert found["flowodm_joined", "0"] == found["flowodm_joined", "1"] == 1
        assert found["flowodm_assigned_partitions", "0"] == 1


def test_the_global_registry_is_the_default_until_the_observer_is_closed(new_bench):
    bench = new_bench()
    bench.produce(range(10))
    server, thread = start_http_server(0, "127.0.0.1")
    observer = PrometheusObserver(consumer=bench.group)

    def scrape() -> str:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()

    labels = f'{{consumer="{bench.group}",outcome="processed",slot="0"}}'
    try:
        with bench.run("sync", lambda _: None, observers=[observer]):
            wait_until(
                lambda: f"flowodm_messages_total{labels} 10.0" in scrape(),
                PATIENCE,
                "the records are scraped",
            )
        observer.close()
        assert bench.group not in scrape()
    finally:
        observer.close()
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_retrys_wait_and_a_full_buffer_are_seen_in_the_metrics(new_bench):
    bench, registry = new_bench(partitions=2), CollectorRegistry()
    bench.produce(range(3_000))
    bench.produce([3_000], partition=lambda _: 1)

    def handle(message) -> None:
        if message.n == 3_000:
            raise ValueError("not yet")
        gate.wait()

    options = {
        "settings": brisk(max_poll_records=100),  # the buffer is full with 20 fetches
        "max_concurrent": 2,
        "ordering": "partition",
        "max_retries": 1,
        "retry_delay": 3600.0,
        "observers": [PrometheusObserver(registry, consumer="numbers")],
    }
    with Gate() as gate, bench.run("threads", handle, **options):
        for name in ("waiting_retries", "paused_partitions"):
            wait_until(
                lambda name=name: samples(registry)[f"flowodm_{name}",] >= 1,
                PATIENCE,
                f"flowodm_{name} says so",
            )
        gate.open()
        wait_until(
            lambda: samples(registry)["flowodm_paused_partitions",] == 0, PATIENCE, "it is resumed"
        )


# ---- the event loop ------------------------------------------------------------------------------


def test_a_handler_that_blocks_the_event_loop_is_named(new_bench, caplog):
    bench, registry = new_bench(), CollectorRegistry()
    bench.produce([1])

    async def charge(message) -> None:
        ends = time.monotonic() + PATIENCE
        while not running.events.of(Blocked) and time.monotonic() < ends:
            time.sleep(0.05)  # noqa: ASYNC251 - the mistake that is to be noticed

    options = {"observers": [PrometheusObserver(registry, consumer="numbers")]}
    with (
        caplog.at_level(logging.INFO, "flowodm.consumer"),
        bench.run("async", charge, **options) as running,
    ):
        wait_until(lambda: running.status().processed == 1, PATIENCE, "the handler has returned")
        running.stop()

    (event,) = running.events.of(Blocked)
    assert event.where.startswith(f"{charge.__qualname__} ({__name__}:")
    assert event.seconds >= 1
    (line,) = [record for record in caplog.records if "event loop" in record.getMessage()]
    assert line.levelno == logging.WARNING
    assert line.getMessage().startswith("event loop blocked ")
    assert event.where in line.getMessage()
    assert samples(registry)["flowodm_event_loop_blocked_total",] == 1


def test_handlers_that_wait_long_are_not_said_to_block(new_bench):
    bench, begun = new_bench(), []
    bench.produce(range(4))

    async def handle(message) -> None:
        begun.append(message.n)
        await asyncio.sleep(2.5)

    with bench.run("async", handle, ordering="unordered") as running:
        wait_until(lambda: running.status().processed == 4, PATIENCE, "all is handled")
        running.stop()

    assert not running.events.of(Blocked)


# ---- the log -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", BOTH)
def test_a_handler_that_always_fails_fills_no_log(new_bench, kind, strategy, caplog):
    bench = new_bench(partitions=2)
    bench.produce(range(2_000), partition=lambda n: n % 2)

    def fail(message) -> None:
        raise ValueError(f"no {message.n}")

    options = {"commit_strategy": strategy, "on_failure": "skip"}
    with (
        caplog.at_level(logging.INFO, "flowodm.consumer"),
        bench.run(kind, fail, **options) as running,
    ):
        wait_until(lambda: bench.committed() == bench.ends(), PATIENCE, "all is committed")
        wait_until(lambda: running.status().buffered == 0, PATIENCE, "all is settled")
        running.stop()

    failed = [fact for fact in facts(caplog) if fact["event"] == "record failed"]
    repeated = [fact for fact in facts(caplog) if fact["event"] == "repeated: record failed"]
    assert len(failed) == len(repeated) * IN_FULL
    assert len(failed) + sum(fact["more"] for fact in repeated) == 2_000
    assert len(caplog.records) < 30
    last = facts(caplog)[-1]
    assert (last["event"], last["reason"], last["skipped"]) == ("loop ended", "stop", 2_000)


@pytest.mark.parametrize("kind", BOTH)
def test_the_last_event_and_line_say_that_an_error_ended_the_loop(new_bench, kind, caplog):
    bench = new_bench()
    bench.produce([1])

    def fail(message) -> None:
        raise ValueError("no")

    with (
        caplog.at_level(logging.INFO, "flowodm.consumer"),
        bench.run(kind, fail, on_failure="stop") as running,
        pytest.raises(RecordError) as raised,
    ):
        running.end()

    last = running.events.all[-1]
    assert isinstance(last, Ended)
    assert (last.reason, last.error) == (EndReason.ERROR, raised.value)
    line = caplog.records[-1]
    assert (line.levelno, line.flowodm["event"]) == (logging.ERROR, "loop ended")
    assert line.flowodm["error"].startswith("RecordError: handler failed for good: ValueError: no")


async def test_a_cancelled_run_says_so_at_the_end(new_bench):
    bench = new_bench()
    running: Running = bench.run("async", lambda _: None)
    task = asyncio.create_task(running.loop.run())
    await wait_until_async(lambda: running.status().joined, PATIENCE, "the loop has joined")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert running.events.all[-1].reason is EndReason.CANCELLED


# ---- tombstones, observers, lag ------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", BOTH)
def test_tombstones_are_counted_skipped_and_committed(new_bench, kind, strategy):
    """A tombstone is no failure, and nobody is called for it."""
    bench, calls = new_bench(), []
    bench.produce_raw(*(Raw(None if n % 2 else number(n), b"key", 0) for n in range(100)))

    options = {"error_handler": lambda *_: calls.append("error"), "commit_strategy": strategy}
    with bench.run(kind, lambda m: calls.append(m.n), **options) as running:
        wait_until(lambda: len(calls) == 50, PATIENCE, "the others are handled")
        wait_until(lambda: running.status().buffered == 0, PATIENCE, "all is settled")
        running.stop()

    assert calls == list(range(0, 100, 2))
    assert bench.committed() == {0: 100}
    assert running.events.outcomes() == {Outcome.PROCESSED: 50, Outcome.TOMBSTONE: 50}


@pytest.mark.parametrize("kind", BOTH)
def test_an_observer_that_raises_does_no_harm(new_bench, kind, caplog):
    bench, seen = new_bench(), Counter()
    bench.produce(range(500))

    def broken(event) -> None:
        raise RuntimeError("the observer is broken")

    def handle(message) -> None:
        seen[message.n] += 1

    caplog.set_level(logging.CRITICAL, "flowodm.consumer")
    with bench.run(kind, handle, observers=[broken]) as running:
        wait_until(lambda: len(seen) == 500, PATIENCE, "all is handled")
        running.stop()

    assert set(seen.values()) == {1}
    assert bench.committed() == {0: 500}


@pytest.mark.parametrize("kind", BOTH)
def test_an_observer_may_ask_for_the_status(new_bench, kind):
    bench, seen = new_bench(), []
    bench.produce(range(500))

    def curious(event) -> None:
        seen.append(running.loop.status())

    running = bench.run(kind, lambda _: None, observers=[curious])
    with running:
        wait_until(lambda: running.status().processed == 500, PATIENCE, "all is handled")
        running.stop()

    assert seen


@pytest.mark.parametrize("kind", BOTH)
def test_lag_is_known_while_the_first_handler_stands_still(new_bench, kind):
    """A partition that stands still must not look healthy."""
    bench = new_bench()
    bench.produce(range(3_000))
    with Gate() as gate, bench.run(kind, lambda _: gate.wait(), ordering="partition") as running:
        wait_until(lambda: gate.waiting, PATIENCE, "a handler stands still")
        wait_until(lambda: running.status().lag == 3_000, 5, "the lag is known")
        wait_until(
            lambda: running.status().oldest_handler_seconds > 0.5, 5, "and how long it stands"
        )
        gate.open()
        wait_until(lambda: running.status().lag == 0, PATIENCE, "there is no lag any more")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", BOTH)
def test_there_is_no_lag_behind_transactions_whose_records_are_handled(new_bench, kind, strategy):
    """Their markers, and what was aborted, take offsets that nobody ever fetches."""
    bench, seen = new_bench(), []
    producer = Producer({"bootstrap.servers": bench.kafka, "transactional.id": bench.topic})
    producer.init_transactions(PATIENCE)
    for n, end in enumerate([producer.commit_transaction, producer.abort_transaction] * 2):
        producer.begin_transaction()
        producer.produce(bench.topic, number(n), partition=0)
        producer.flush(PATIENCE)
        end(PATIENCE)

    with bench.run(kind, lambda m: seen.append(m.n), commit_strategy=strategy) as running:
        wait_until(lambda: running.status().lag == 0, PATIENCE, "there is no lag")
        assert seen == [0, 2]
        bench.produce([4])
        wait_until(lambda: seen == [0, 2, 4], PATIENCE, "the next record is handled")
        wait_until(lambda: running.status().lag == 0, PATIENCE, "there is no lag again")


@pytest.mark.parametrize("kind", BOTH)
def test_an_empty_partition_has_no_lag(new_bench, kind):
    with new_bench().run(kind, lambda _: None) as running:
        wait_until(lambda: running.status().lag == 0, PATIENCE, "the lag is known")


def test_a_status_counts_the_handlers_that_run(new_bench):
    bench = new_bench()
    bench.produce(range(10))
    with Gate() as gate:
        options = {"ordering": "unordered", "max_concurrent": 3}
        with bench.run("threads", lambda _: gate.wait(), **options) as running:
            wait_until(lambda: running.status().in_flight == 3, PATIENCE, "three run")
            assert running.status().buffered == 10
            gate.open()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_commits_way_to_the_broker_and_back_is_measured(new_bench, strategy):
    bench = new_bench()
    bench.produce(range(100))
    with bench.run("sync", lambda _: None, commit_strategy=strategy) as running:
        wait_until(lambda: bench.committed() == bench.ends(), PATIENCE, "all is committed")
        wait_until(lambda: running.events.of(LoopStatus)[-1].lag == 0, PATIENCE, "all is settled")
        running.stop()

    took = [event.seconds for event in running.events.of(Committed)]
    assert took
    assert all(0 < seconds < 10 for seconds in took)


async def test_a_run_that_is_cancelled_in_its_startup_hook_says_so_too(new_bench):
    begun = asyncio.Event()

    async def hook() -> None:
        begun.set()
        await asyncio.sleep(3_600)

    running = new_bench().run("async", lambda _: None, on_startup=hook)
    run = asyncio.ensure_future(running.loop.run())
    await asyncio.wait_for(begun.wait(), 10)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert running.events.all[-1].reason is EndReason.CANCELLED
