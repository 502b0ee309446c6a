"""What a broker answers about a consumer's topics, compared with the configuration. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.config.problems import Problem
from supervisor.config.topic_size import fewest, too_many

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from supervisor.config.config import SupervisorConfig
    from supervisor.config.consumer import ConsumerTable
    from supervisor.config.topic_size import TopicMetadata


def problems(config: SupervisorConfig, name: str, metadata: TopicMetadata) -> Iterator[Problem]:
    """Yield what would keep a consumer from working.

    Args:
        config: The configuration.
        name: The consumer.
        metadata: The broker's answer.
    """
    table, place = config.consumers[name], f"consumers.{name}"
    if metadata.error:
        has_own_address = table.kafka.bootstrap_servers is not None
        yield Problem(
            f"{place}.kafka.bootstrap_servers" if has_own_address else "kafka.bootstrap_servers",
            f"no broker answers: {metadata.error}",
            "check address, security_protocol and credentials, or check without --online",
        )
        return
    count = metadata.partitions[metadata.topic]
    if not count:
        yield Problem(
            f"{place}.model",
            f"the topic {metadata.topic} does not exist",
            "create it, or correct Settings.topic of the model",
        )
        return
    if table.partitions_per_worker and (
        problem := too_many(table.partitions_per_worker, count, metadata.topic)
    ):
        hint = f"write {fewest(count)} or more"
        yield Problem(f"{place}.partitions_per_worker", problem, hint)
    for key, partitions in _partition_keys(table):
        beyond = sorted(partition for partition in set(partitions) if partition >= count)
        if beyond:
            yield Problem(
                f"{place}.{key}",
                f"has partitions that {metadata.topic} does not have: {_numbers(beyond)}; it has "
                f"0 to {count - 1}",
                "remove them, or add partitions to the topic",
            )


def warnings(config: SupervisorConfig, name: str, metadata: TopicMetadata) -> Iterator[Problem]:
    """Yield what works, but probably not as intended.

    Args:
        config: The configuration.
        name: The consumer.
        metadata: The broker's answer.
    """
    table, place = config.consumers[name], f"consumers.{name}"
    count = metadata.partitions.get(metadata.topic, 0)
    if not count:
        return
    if table.pinned is None:
        yield from _idle_workers(f"{place}.workers", table, count, topic=metadata.topic)
    if table.partition_groups is not None:
        yield from _left_out(f"{place}.partition_groups", table, count, topic=metadata.topic)
    if table.dead_letter_topic and not metadata.partitions.get(table.dead_letter_topic):
        yield Problem(
            f"{place}.dead_letter_topic",
            f"the topic {table.dead_letter_topic} does not exist: unless the broker creates "
            "topics by itself, the first dead letter stops the worker",
            "create it",
        )


def _idle_workers(key: str, table: ConsumerTable, count: int, *, topic: str) -> Iterator[Problem]:
    """Warn of workers that get no partition from the group."""
    workers = len(table.slots())
    if workers > count:
        idle = workers - count
        partitions = "1 partition" if count == 1 else f"{count} partitions"
        yield Problem(
            key,
            f"{workers} workers share the {partitions} of {topic}: {idle} "
            f"{'has' if idle == 1 else 'have'} nothing to do",
            f"write workers = {count}, or add partitions to the topic",
        )


def _left_out(key: str, table: ConsumerTable, count: int, *, topic: str) -> Iterator[Problem]:
    """Warn of partitions that no group has."""
    pinned = {partition for group in table.partition_groups or () for partition in group}
    others = sorted(set(range(count)) - pinned)
    if others:
        yield Problem(
            key,
            f"leaves out partitions of {topic}: {_numbers(others)}",
            "add them to a group, unless another supervisor has them",
        )


def _partition_keys(table: ConsumerTable) -> Iterator[tuple[str, Iterable[int]]]:
    """Yield the keys that name partitions, with those that they name."""
    groups = table.partition_groups or ()
    yield "partition_groups", (partition for group in groups for partition in group)
    if isinstance(table.start_from, dict):
        yield "start_from", table.start_from


def _numbers(partitions: Iterable[int]) -> str:
    return ", ".join(map(str, partitions))
