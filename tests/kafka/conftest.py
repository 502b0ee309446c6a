"""What the tests on a real Kafka share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from loops import Bench

from flowodm import connect

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def new_bench(kafka: str, new_topic: Callable[..., str], group: str) -> Callable[..., Bench]:
    """``new_bench(partitions=1) -> Bench``: an empty topic, and flowodm connected to it."""
    connect(bootstrap_servers=kafka)
    return lambda partitions=1: Bench(kafka, new_topic(partitions), group)
