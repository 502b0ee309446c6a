"""Where a group begins that has nothing committed, and that a crash at once changes nothing."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from confluent_kafka import TopicPartition

from flowodm.exceptions import ConsumerError
from support.brokers.clients import consumer_of
from support.loops import PATIENCE, brisk
from support.waiting import wait_until

PROTOCOLS = {
    "cooperative": {},
    "eager": {"partition.assignment.strategy": "range"},
    "kip848": {"group.protocol": "consumer"},
}
EVERY_PROTOCOL = pytest.mark.parametrize("protocol", PROTOCOLS)
BEFORE, AFTER = range(10), range(100, 110)


@pytest.fixture(scope="module")
def kafka(brisk_kafka: str) -> str:
    return brisk_kafka


def options(protocol: str = "cooperative", **values):
    values.setdefault("settings", brisk(extra_config=PROTOCOLS[protocol]))
    return values


def run_once(bench, expected, **values) -> list[int]:
    """Handle the records that a fresh loop finds, and leave with everything committed."""
    seen: list[int] = []
    with bench.run("sync", lambda m: seen.append(m.n), **options(**values)) as running:
        running.joined()
        wait_until(lambda: len(seen) >= len(expected), PATIENCE, f"{len(expected)} are handled")
        wait_until(lambda: bench.committed() == bench.ends(), PATIENCE, "and committed")
        running.stop()
    return sorted(seen)


def position_in_between(bench):
    """Two lots of records in both partitions; returns a moment between them."""
    bench.produce(BEFORE, partition=lambda n: n % 2)
    time.sleep(0.01)  # Kafka's timestamps are milliseconds
    moment = datetime.now(UTC)
    time.sleep(0.01)  # as above
    bench.produce(AFTER, partition=lambda n: n % 2)
    return moment


@EVERY_PROTOCOL
@pytest.mark.parametrize("start", ["moment", "number", "mapping"])
def test_a_new_group_begins_where_it_is_told(new_bench, protocol, start):
    bench = new_bench(partitions=2)
    moment = position_in_between(bench)
    start_from = {"moment": moment, "number": 5, "mapping": {0: 5, 1: 5}}[start]

    assert run_once(bench, AFTER, protocol=protocol, start_from=start_from) == list(AFTER)


def test_a_partition_that_the_mapping_does_not_name_begins_where_the_profile_says(new_bench):
    bench = new_bench(partitions=2)
    position_in_between(bench)
    expected = [n for n in (*BEFORE, *AFTER) if n % 2 or n >= 100]

    assert run_once(bench, expected, start_from={0: 5}) == expected


def test_the_profile_does_not_matter_where_a_start_is_given(new_bench):
    bench = new_bench(partitions=2)
    bench.produce(BEFORE, partition=lambda n: n % 2)
    latest = brisk(auto_offset_reset="latest")

    assert run_once(bench, BEFORE, settings=latest, start_from="earliest") == list(BEFORE)


@pytest.mark.parametrize("start_from", [datetime(2100, 1, 1, tzinfo=UTC), 1_000, "latest"])
def test_behind_the_last_record_means_the_end(new_bench, start_from):
    bench, seen = new_bench(partitions=2), []
    bench.produce(BEFORE, partition=lambda n: n % 2)
    with bench.run("sync", lambda m: seen.append(m.n), **options(start_from=start_from)) as loop:
        loop.joined(2)
        bench.produce(AFTER, partition=lambda n: n % 2)
        wait_until(lambda: len(seen) >= len(AFTER), PATIENCE, "the new ones are handled")
        loop.stop()

    assert sorted(seen) == list(AFTER)


@EVERY_PROTOCOL
def test_what_arrives_between_a_start_at_the_end_and_a_crash_is_not_skipped(new_bench, protocol):
    """The position is committed at once: the loop's own first commit may never come."""
    bench = new_bench(partitions=2)
    bench.produce(BEFORE, partition=lambda n: n % 2)
    started = options(protocol, start_from="latest", commit_interval=3600.0)
    with bench.run("sync", lambda _: pytest.fail("there is nothing"), **started) as loop:
        loop.joined(2)
        assert bench.committed() == {0: 5, 1: 5}
        loop.loop.stop(now=True)
        loop.end()
    bench.produce(AFTER, partition=lambda n: n % 2)

    assert run_once(bench, AFTER, protocol=protocol, start_from="latest") == list(AFTER)


@EVERY_PROTOCOL
def test_a_partition_with_a_committed_offset_stays_there(new_bench, protocol):
    bench = new_bench(partitions=2)
    bench.produce(BEFORE, partition=lambda n: n % 2)
    with consumer_of(bench.kafka, bench.group) as other:
        other.commit(offsets=[TopicPartition(bench.topic, 0, 3)], asynchronous=False)
    expected = [6, 8]  # of partition 0; partition 1 begins at its end

    seen: list[int] = []
    started = options(protocol, start_from="latest")
    with bench.run("sync", lambda m: seen.append(m.n), **started) as running:
        running.joined(2)
        wait_until(lambda: len(seen) == 2, PATIENCE, "the rest of partition 0 is handled")
        running.stop()
    assert seen == expected


def test_pinned_partitions_begin_where_they_are_told(new_bench):
    bench, seen = new_bench(partitions=2), []
    bench.produce(BEFORE, partition=lambda n: n % 2)
    pinned = options(partitions=[1], start_from={1: 3})
    with bench.run("sync", lambda m: seen.append(m.n), **pinned) as running:
        wait_until(lambda: len(seen) == 2, PATIENCE, "its records are handled")
        running.stop()

    assert seen == [7, 9]
    assert bench.committed() == {1: 5}


def test_a_start_that_cannot_be_found_ends_the_loop_and_says_so(new_bench, monkeypatch):
    monkeypatch.setattr("flowodm.consumer.kafka.start_offsets.START_TIMEOUT", 0.5)
    bench = new_bench(partitions=1)
    missing = options(partitions=[7], start_from="latest")
    with (
        bench.run("sync", lambda _: None, **missing) as running,
        pytest.raises(ConsumerError, match="start position could not be found"),
    ):
        running.end()
