"""Fixtures for pytest, for a conftest.py with ``pytest_plugins = ["flowodm.testing.fixtures"]``.

They are not registered as a pytest plugin: a project that does not ask for them has neither their
names nor the time to import them.
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
    """Replace Kafka with an empty one in memory during the test."""
    with InMemoryKafka() as kafka:
        yield kafka


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """Start one embedded broker for the session; each test needs its own topics and groups."""
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def embedded_kafka(embedded_broker: EmbeddedBroker) -> Iterator[str]:
    """Connect this process to the embedded broker during the test; give its address."""
    connection = get_kafka_connection()
    connection.reset()
    connection.configure(bootstrap_servers=embedded_broker.bootstrap_servers)
    yield embedded_broker.bootstrap_servers
    connection.reset()
