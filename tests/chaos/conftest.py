"""What the tests with failures under load share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flowodm import connect
from support.brokers.kafka_server import KafkaServer
from support.loops import Bench
from support.members import SESSION_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def impatient_kafka(kafka_parts: None) -> Iterator[str]:
    """A Kafka that soon misses a member: 45 s would be the default, and the least for KIP-848."""
    config = {
        "group.min.session.timeout.ms": "500",
        "group.consumer.min.session.timeout.ms": "500",
        "group.consumer.session.timeout.ms": str(SESSION_MS),
        "group.consumer.min.heartbeat.interval.ms": "200",
        "group.consumer.heartbeat.interval.ms": "200",
    }
    with KafkaServer(config) as server:
        yield server.bootstrap_servers


@pytest.fixture
def kafka(impatient_kafka: str) -> str:
    return impatient_kafka


@pytest.fixture
def new_bench(kafka: str, new_topic: Callable[..., str], group: str) -> Callable[..., Bench]:
    """``new_bench(partitions=1) -> Bench``: an empty topic, and flowodm connected to it."""
    connect(bootstrap_servers=kafka)
    return lambda partitions=1: Bench(kafka, new_topic(partitions), group)
