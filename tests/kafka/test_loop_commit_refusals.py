"""Commits that the broker refuses: the loop does not go on as if nothing had happened."""

from __future__ import annotations

import pytest

from flowodm.exceptions import ConsumerError
from support.brokers.kafka_server import KafkaServer
from support.loops import BOTH, PATIENCE, Gate
from support.waiting import wait_until


@pytest.fixture(scope="module")
def kafka(kafka_parts):
    """A Kafka that takes hardly any metadata with a commit; 4,096 bytes would be the default."""
    with KafkaServer({"offset.metadata.max.bytes": "12"}) as server:
        yield server.bootstrap_servers


@pytest.mark.parametrize("strategy", ["after_processing", "before_processing"])
@pytest.mark.parametrize("kind", BOTH)
def test_pinned_partitions_in_the_group_of_members_end_the_loop_with_the_reason(
    new_bench, kind, strategy, monkeypatch
):
    """Kafka takes commits of a group that has members from its members only."""
    monkeypatch.setattr("flowodm.consumer.engine.commit.RETRY_DELAY_MAX", 0.2)
    bench, seen = new_bench(partitions=2), []
    bench.produce(range(10))
    options = {"partitions": [0], "commit_strategy": strategy}
    with bench.plain_member() as other:
        wait_until(lambda: len(other.owns()) == 2, PATIENCE, "the group has a member")
        with (
            bench.run(kind, lambda m: seen.append(m.n), **options) as pinned,
            pytest.raises(ConsumerError, match="group that nobody joins as a member"),
        ):
            pinned.end()

    if strategy == "before_processing":
        assert seen == [], "nothing is handled that is not committed"
    assert bench.committed() == {}


def test_a_broker_that_refuses_the_note_of_a_commit_gets_it_without(new_bench):
    """The note says which records beyond the committed offset are done; it only saves work."""
    bench, seen = new_bench(), []
    bench.produce(range(100))
    with Gate() as gate:

        def handle(message) -> None:
            if message.n == 5:
                gate.wait()
            seen.append(message.n)

        with bench.run("threads", handle, ordering="unordered") as running:
            wait_until(lambda: len(seen) == 99, PATIENCE, "all but one are handled")
            wait_until(lambda: bench.committed() == {0: 5}, PATIENCE, "up to that one")
            gate.open()
            wait_until(lambda: bench.committed() == {0: 100}, PATIENCE, "and then all")
            running.stop()

    assert len(running.events.commit_errors()) == 1
    assert sorted(seen) == list(range(100))
