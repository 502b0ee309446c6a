"""What the in-memory Kafka says of its topics, in the words of Kafka's clients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowodm.testing.memory.kafka import InMemoryKafka


@dataclass(frozen=True, slots=True)
class MemoryPartition:
    """As confluent_kafka.admin.PartitionMetadata."""

    id: int
    leader: int = 0
    replicas: tuple[int, ...] = (0,)
    isrs: tuple[int, ...] = (0,)
    error: None = None


@dataclass(frozen=True, slots=True)
class MemoryTopic:
    """As confluent_kafka.admin.TopicMetadata."""

    topic: str
    partitions: dict[int, MemoryPartition]
    error: None = None


@dataclass(frozen=True, slots=True)
class MemoryCluster:
    """As confluent_kafka.admin.ClusterMetadata."""

    topics: dict[str, MemoryTopic]
    cluster_id: str = "memory"
    controller_id: int = 0
    brokers: dict[int, object] = field(default_factory=dict)


def metadata_of(kafka: InMemoryKafka, topic: str | None) -> MemoryCluster:
    """The answer to list_topics; a topic that is named is made, as a broker does by default."""
    with kafka.changed:
        names = list(kafka.logs) if topic is None else [topic]
        sizes = {name: len(kafka.topic(name)) for name in names}
    return MemoryCluster(
        {
            name: MemoryTopic(name, {number: MemoryPartition(number) for number in range(size)})
            for name, size in sizes.items()
        }
    )
