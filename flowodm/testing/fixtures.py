"""Fixtures for pytest, for a conftest.py with ``pytest_plugins = ["flowodm.testing.fixtures"]``.

They are no entry point of pytest's: who only has flowodm installed gets neither these names nor
the time to import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flowodm.connection import get_kafka_connection
from flowodm.testing.broker import EmbeddedBroker
from flowodm.testing.memory.kafka import InMemoryKafka

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def in_memory_kafka() -> Iterator[InMemoryKafka]:
    """An empty Kafka in memory, which everything of this process uses during the test."""
    with InMemoryKafka() as kafka:
        yield kafka


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """One embedded broker for the whole session: tests need topics and groups of their own."""
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def embedded_kafka(embedded_broker: EmbeddedBroker) -> Iterator[str]:
    """Connect this process to the embedded broker during the test; its bootstrap servers."""
    connection = get_kafka_connection()
    connection.reset()
    connection.configure(bootstrap_servers=embedded_broker.bootstrap_servers)
    yield embedded_broker.bootstrap_servers
    connection.reset()
