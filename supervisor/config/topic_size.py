"""The number of a topic's partitions, for consumers with partitions_per_worker. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from supervisor.config.consumer import MOST_WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class TopicSize:
    """How many partitions a topic has, and had.

    Attributes:
        partitions: Number of its partitions now.
        at_first: The same when this supervisor first heard of the topic.
    """

    partitions: int
    at_first: int

    @classmethod
    def heard(cls, before: TopicSize | None, partitions: int) -> TopicSize:
        """Return the size after a worker has reported the number of partitions."""
        if before is None:
            return cls(partitions, partitions)
        return replace(before, partitions=partitions)

    def begin(self, wanted: object, partitions: Iterable[int]) -> object:
        """Return where a worker begins that holds these partitions, as JSON has start_from.

        A partition that was added later is read from its beginning: everything in it was
        produced while this consumer ran, and "latest" would lose the first records.

        Args:
            wanted: The consumer's start_from, as JSON has it.
            partitions: The worker's partitions.
        """
        added = {str(number): 0 for number in partitions if number >= self.at_first}
        if not added:
            return wanted
        if isinstance(wanted, dict):
            return {**added, **wanted}
        return added if wanted in {None, "latest"} else wanted


def too_many(per_worker: int, partitions: int, topic: str) -> str | None:
    """Say what is wrong if a topic needs more workers than a consumer may have; else None."""
    workers = -(-partitions // per_worker)
    if workers <= MOST_WORKERS:
        return None
    return (
        f"the {partitions} partitions of {topic} would need {workers} workers, more than "
        f"{MOST_WORKERS}"
    )


def fewest(partitions: int) -> int:
    """Return the smallest partitions_per_worker that a topic of this size allows."""
    return -(-partitions // MOST_WORKERS)


@dataclass(frozen=True, slots=True)
class TopicMetadata:
    """What a broker answered about the topics of one consumer.

    Attributes:
        topic: The topic that it consumes.
        partitions: Number of partitions by topic; 0 if the topic does not exist.
        error: Why there is no answer; "" if there is one.
    """

    topic: str = ""
    partitions: dict[str, int] = field(default_factory=dict)
    error: str = ""


ONLINE_TIMEOUT = 15.0
"""Seconds that all requests to brokers may take together."""
