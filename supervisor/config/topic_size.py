"""How many partitions a topic has, for consumers that pin theirs by size. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from supervisor.config.consumer import MOST_WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class TopicSize:
    """What is known of a topic.

    Attributes:
        partitions: How many it has.
        at_first: How many it had when this supervisor first heard of it.
    """

    partitions: int
    at_first: int

    @classmethod
    def heard(cls, before: TopicSize | None, partitions: int) -> TopicSize:
        """What is known now that it has so many."""
        if before is None:
            return cls(partitions, partitions)
        return replace(before, partitions=partitions)

    def begin(self, wanted: object, partitions: Iterable[int]) -> object:
        """Where a worker begins that holds these partitions.

        What is in a partition that came later was all produced while this consumer ran: it is
        read from its beginning, where "latest" would lose what came before anybody looked.

        Args:
            wanted: The consumer's start_from, as JSON has it.
            partitions: The worker's.
        """
        new = {str(number): 0 for number in partitions if number >= self.at_first}
        if new and isinstance(wanted, dict):
            return {**new, **wanted}
        return new if new and wanted in {None, "latest"} else wanted


def too_many(per_worker: int, partitions: int, topic: str) -> str | None:
    """What is wrong if so many partitions need more workers than a consumer may have."""
    workers = -(-partitions // per_worker)
    if workers <= MOST_WORKERS:
        return None
    return (
        f"the {partitions} partitions of {topic} would need {workers} workers, more than "
        f"{MOST_WORKERS}"
    )


def fewest(partitions: int) -> int:
    """The smallest number for each worker with which there are not too many workers."""
    return -(-partitions // MOST_WORKERS)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a broker answered for one consumer.

    Attributes:
        topic: The topic that it consumes.
        partitions: By topic, how many there are; 0: there is no such topic.
        error: Why there is no answer; "" if there is one.
    """

    topic: str = ""
    partitions: dict[str, int] = field(default_factory=dict)
    error: str = ""


ONLINE_TIMEOUT = 15.0
"""Seconds that all questions to brokers may take together."""
