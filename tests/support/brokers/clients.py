"""Plain confluent-kafka clients for tests: nothing of flowodm is in what it is measured by."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# For brokers that come up, or back, during a test: librdkafka's own patience grows to 10 s, and
# it would print every refused connection.
IMPATIENT: dict[str, Any] = {
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 100,
    "socket.connection.setup.timeout.ms": 2_000,
    "log_level": 0,
}


def admin_client(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, **IMPATIENT})


@contextlib.contextmanager
def consumer_of(bootstrap: str, group: str) -> Iterator[Consumer]:
    """A consumer that reads and commits for a group; whether it joins is the caller's to say."""
    config = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        **IMPATIENT,
    }
    consumer = Consumer(config)
    try:
        yield consumer
    finally:
        consumer.close()


def committed(
    bootstrap: str, group: str, places: Iterable[TopicPartition], timeout: float
) -> list[TopicPartition]:
    """What the group committed for each place, or KafkaException; the group is not joined.

    Asked as a consumer: AdminClient.list_consumer_group_offsets takes the process down with it
    if the coordinator is just being found or loaded (librdkafka issue 5040).
    """
    with consumer_of(bootstrap, group) as consumer:
        found: list[TopicPartition] = consumer.committed(list(places), timeout=timeout)
    for place in found:
        if place.error is not None:
            raise place.error
    return found
