"""Kafka in this process's memory, in place of the connection's clients.

It is meant for tests of one loop, or of several that feed each other. It has no brokers, no
time-outs, no transactions, and no group whose members share its partitions: the first member has
all of them until it leaves.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import KafkaError

from flowodm.connection import get_kafka_connection
from flowodm.testing.memory.consumer import MemoryConsumer
from flowodm.testing.memory.log import MemoryLog
from flowodm.testing.memory.producer import MemoryProducer

if TYPE_CHECKING:
    from types import TracebackType

    from flowodm.testing.memory.message import MemoryMessage
    from flowodm.testing.records import Record


class InMemoryKafka:
    """Takes the place of Kafka for everything that uses flowodm's connection in this process.

    ::

        with InMemoryKafka() as kafka:
            OrderEvent(order_id="1", amount=2.5).produce()
            assert kafka.records("orders")[0].key() == b"1"

    A topic is created when it is first named. Without a schema registry, values are bare Avro.
    At the end of the context the connection is as it was before.

    Args:
        partitions: The number of partitions of a topic that :meth:`create_topic` did not create.
        schema_registry_url: The schema registry to use; None: none.

    Attributes:
        log: Its topics, records and offsets.

    Raises:
        ValueError: ``partitions`` is less than 1.
        ConfigurationError: When entered: another InMemoryKafka is active.
    """

    def __init__(self, partitions: int = 1, schema_registry_url: str | None = None) -> None:
        self.registry_config: dict[str, Any] | None = None
        if schema_registry_url is not None:
            self.registry_config = {"url": schema_registry_url}
        self.log = MemoryLog(partitions)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(get_kafka_connection().replaced_by(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def create_topic(self, topic: str, partitions: int) -> None:
        """Create a topic; one that exists gets more partitions, never fewer.

        Raises:
            ValueError: ``partitions`` is less than 1.
        """
        self.log.create_topic(topic, partitions)

    def records(self, topic: str) -> list[MemoryMessage]:
        """Return all records of a topic, in the order in which they were appended."""
        return self.log.records(topic)

    def append(self, topic: str, *records: Record) -> list[MemoryMessage]:
        """Append records to a topic, all at once; return them as consumers get them.

        Args:
            topic: The topic.
            records: Their values must be bytes or None; produce messages instead.
        """
        return self.log.append_all((topic, record) for record in records)

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return a group's committed offset for each partition of a topic that has one."""
        return self.log.committed(group, topic)

    def refuse(self, topic: str, reason: int = KafkaError.TOPIC_AUTHORIZATION_FAILED) -> None:
        """Answer every record that is produced to a topic from now on with an error.

        Args:
            topic: The topic.
            reason: One of KafkaError's codes.
        """
        self.log.refuse(topic, KafkaError(reason))

    def consumer(self, config: dict[str, Any]) -> MemoryConsumer:
        """Make a consumer, in place of confluent_kafka.Consumer."""
        return MemoryConsumer(self.log, config)

    def producer(self, config: dict[str, Any]) -> MemoryProducer:
        """Make a producer, in place of confluent_kafka.Producer."""
        return MemoryProducer(self.log, config)
