"""What a broker says of a consumer's topics, against what the configuration wants. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.config.problems import Problem
from supervisor.config.topic_size import TopicMetadata, fewest, too_many

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from supervisor.config.config import SupervisorConfig
    from supervisor.config.consumer import ConsumerTable


def wrong(config: SupervisorConfig, name: str, seen: TopicMetadata) -> Iterator[Problem]:
    """What would keep the consumer from working."""
    table, place = config.consumers[name], f"consumers.{name}"
    if seen.error:
        own = table.kafka.bootstrap_servers is not None
        yield Problem(
            f"{place}.kafka.bootstrap_servers" if own else "kafka.bootstrap_servers",
            f"no broker answers: {seen.error}",
            "check address, security_protocol and credentials, or check without --online",
        )
        return
    count = seen.partitions[seen.topic]
    if not count:
        yield Problem(
            f"{place}.model",
            f"the topic {seen.topic} does not exist",
            "create it, or correct Settings.topic of the model",
        )
        return
    if table.partitions_per_worker and (
        problem := too_many(table.partitions_per_worker, count, seen.topic)
    ):
        hint = f"write {fewest(count)} or more"
        yield Problem(f"{place}.partitions_per_worker", problem, hint)
    for key, named in _named(table):
        if beyond := sorted(partition for partition in set(named) if partition >= count):
            yield Problem(
                f"{place}.{key}",
                f"names partitions that {seen.topic} does not have: "
                f"{', '.join(map(str, beyond))}; it has 0 to {count - 1}",
                "remove them, or add partitions to the topic",
            )


def doubtful(config: SupervisorConfig, name: str, seen: TopicMetadata) -> Iterator[Problem]:
    """What works, but hardly as it is meant."""
    table, place = config.consumers[name], f"consumers.{name}"
    count = seen.partitions.get(seen.topic, 0)
    if not count:
        return
    workers = len(table.slots())
    if table.pinned is None and workers > count:
        idle = workers - count
        yield Problem(
            f"{place}.workers",
            f"{workers} workers share the {_counted(count)} of {seen.topic}: {idle} "
            f"{'has' if idle == 1 else 'have'} nothing to do",
            f"write workers = {count}, or add partitions to the topic",
        )
    if table.partition_groups is not None:
        pinned = {partition for group in table.partition_groups for partition in group}
        if nobodys := sorted(set(range(count)) - pinned):
            yield Problem(
                f"{place}.partition_groups",
                f"leaves partitions of {seen.topic} to nobody: {', '.join(map(str, nobodys))}",
                "add them to a group, unless another supervisor has them",
            )
    if table.dead_letter_topic and not seen.partitions.get(table.dead_letter_topic):
        yield Problem(
            f"{place}.dead_letter_topic",
            f"the topic {table.dead_letter_topic} does not exist: unless the broker creates "
            "topics by itself, the first dead letter stops the worker",
            "create it",
        )


def _named(table: ConsumerTable) -> Iterator[tuple[str, Iterable[int]]]:
    groups = table.partition_groups or ()
    yield "partition_groups", (partition for group in groups for partition in group)
    if isinstance(table.start_from, dict):
        yield "start_from", table.start_from


def _counted(count: int) -> str:
    return "1 partition" if count == 1 else f"{count} partitions"
