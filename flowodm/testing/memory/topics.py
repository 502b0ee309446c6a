"""The in-memory Kafka's answer to list_topics, in the form of confluent_kafka's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowodm.testing.memory.log import MemoryLog


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


def metadata_of(log: MemoryLog, topic: str | None) -> MemoryCluster:
    """Describe the topics.

    Args:
        log: The in-memory Kafka's state.
        topic: Only this topic, created on demand as a broker does by default; None: all topics.
    """
    with log.changed:
        names = list(log.topics) if topic is None else [topic]
        sizes = {name: len(log.partitions_of(name)) for name in names}
    return MemoryCluster({name: _topic(name, size) for name, size in sizes.items()})


def _topic(name: str, size: int) -> MemoryTopic:
    return MemoryTopic(name, {number: MemoryPartition(number) for number in range(size)})
