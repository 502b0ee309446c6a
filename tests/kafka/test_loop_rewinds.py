"""A client that goes back by itself makes nobody handle or commit anything twice.

librdkafka does so where a rebalance comes while it looks up where a group without an offset
begins: half a second after the partition was started, an old timer starts it again.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from flowodm.consumer.kafka import poller
from flowodm.events import Committed
from support.brokers.clients import admin_client
from support.brokers.records import create_topic
from support.loops import PATIENCE, brisk
from support.waiting import wait_until

RECORDS = 1_000


class GoesBack(Consumer):
    """Starts partition 0 from its beginning again, once, after some records."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._left = 5

    def poll(self, timeout: float = -1) -> Any:
        message = super().poll(timeout)
        if message is not None and message.error() is None:
            self._left -= 1
            if self._left == 0:
                self.seek(TopicPartition(message.topic(), 0, 0))
        return message


@pytest.mark.parametrize("ordering", ["partition", "unordered"])
@pytest.mark.parametrize(
    ("kind", "strategy"), [("sync", "after_processing"), ("async", "before_processing")]
)
def test_a_client_that_goes_back_to_the_beginning_repeats_nothing(
    new_bench, monkeypatch, kind, strategy, ordering
):
    bench, seen = new_bench(), []
    bench.produce(range(RECORDS))
    monkeypatch.setattr(poller, "Consumer", GoesBack)
    options = {
        "settings": brisk(max_poll_records=50),
        "commit_interval": 0.01,
        "commit_strategy": strategy,
        "ordering": ordering,
    }
    with bench.run(kind, lambda m: seen.append(m.n), **options) as running:
        wait_until(lambda: bench.committed() == {0: RECORDS}, PATIENCE, "all is committed")
        wait_until(lambda: running.status().buffered == 0, PATIENCE, "and handled")
        running.stop()

    assert sorted(seen) == list(range(RECORDS))
    offsets = [event.offsets[bench.topic, 0] for event in running.events.of(Committed)]
    assert all(earlier <= later for earlier, later in pairwise(offsets))


@pytest.mark.parametrize(("kind", "ordering"), [("sync", "partition"), ("async", "unordered")])
def test_a_topic_that_is_made_again_is_handled_from_its_beginning(new_bench, kind, ordering):
    """Its offsets are lower, and its records are new ones; an idle loop commits them once."""
    bench, seen = new_bench(), []
    bench.produce(range(100))
    admin = admin_client(bench.kafka)
    options = {"commit_interval": 0.1, "ordering": ordering}
    with bench.run(kind, lambda m: seen.append(m.n), **options) as running:
        wait_until(lambda: bench.committed() == {0: 100}, PATIENCE, "the first ones are committed")
        admin.delete_topics([bench.topic], operation_timeout=10)[bench.topic].result(10)
        create_topic(bench.kafka, bench.topic, partitions=1)
        bench.produce(range(1_000, 1_010))
        wait_until(lambda: len(seen) == 110, PATIENCE, "the new ones are handled")
        wait_until(lambda: bench.committed() == {0: 10}, PATIENCE, "and committed")
        commits = len(running.events.of(Committed))
        bench.produce(range(1_010, 1_020))
        wait_until(lambda: bench.committed() == {0: 20}, PATIENCE, "and so on")
        assert len(running.events.of(Committed)) <= commits + 3
        running.stop()
    assert sorted(seen) == [*range(100), *range(1_000, 1_020)]


class Placed(Consumer):
    """Keeps the offsets at which partitions are started."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._log = started

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._log.extend((p.partition, p.offset) for p in partitions)
        super().assign(partitions)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self._log.extend((p.partition, p.offset) for p in partitions)
        super().incremental_assign(partitions)


started: list[tuple[int, int]] = []


@pytest.mark.parametrize(("reset", "place"), [("earliest", 0), ("latest", 5)])
@pytest.mark.parametrize(
    "how",
    [
        {"group.protocol": "consumer"},
        {"group.protocol": "classic"},
        {"partition.assignment.strategy": "range"},
    ],
    ids=["kip848", "cooperative", "eager"],
)
def test_the_client_is_told_an_offset_and_has_nothing_to_look_up_where_a_group_begins(
    new_bench, monkeypatch, how, reset, place
):
    """Only a look-up of its own can set it back, or forward to the end of that moment."""
    bench, seen = new_bench(partitions=2), []
    bench.produce(range(10), partition=lambda n: n % 2)
    monkeypatch.setattr(poller, "Consumer", Placed)
    started.clear()
    settings = brisk(auto_offset_reset=reset, extra_config=how)
    with bench.run("sync", lambda m: seen.append(m.n), settings=settings) as running:
        running.joined(2)
        bench.produce(range(10, 14), partition=lambda n: n % 2)
        expected = 14 if reset == "earliest" else 4
        wait_until(lambda: len(seen) == expected, PATIENCE, "all from there on is handled")
        running.stop()

    assert {(partition, offset) for partition, offset in started} == {(0, place), (1, place)}
