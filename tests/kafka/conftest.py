"""What the tests on a real Kafka share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flowodm import connect
from support.brokers.kafka_server import KafkaServer
from support.loops import Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def new_bench(kafka: str, new_topic: Callable[..., str], group: str) -> Callable[..., Bench]:
    """``new_bench(partitions=1) -> Bench``: an empty topic, and flowodm connected to it."""
    connect(bootstrap_servers=kafka)
    return lambda partitions=1: Bench(kafka, new_topic(partitions), group)


@pytest.fixture(scope="session")
def brisk_kafka(kafka_parts: None) -> Iterator[str]:
    """A Kafka that wants to hear of KIP-848 members every 0.2 s, where 5 s is the default.

    For files where members come and go: each rebalance takes some heartbeats.
    """
    intervals = ("group.consumer.heartbeat.interval.ms", "group.consumer.min.heartbeat.interval.ms")
    with KafkaServer(dict.fromkeys(intervals, "200")) as server:
        yield server.bootstrap_servers
