"""Counts a topic's partitions, in the first worker of a consumer that pins them by size.

Each count uses a client of its own and closes it: the loop's client belongs to its poller, and a
second one that stays open would cost threads and memory for an answer that hardly ever changes.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from supervisor.config.topic_size import fewest, too_many
from supervisor.worker.topic_metadata import Broker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from supervisor.config.topic_size import TopicMetadata

REFRESH: Final = "topic.metadata.refresh.interval.ms"
"""librdkafka's property: how often a client asks for a topic's partitions. They are counted as
often."""
_REFRESH_MS: Final = 300_000.0
"""librdkafka's default, by its CONFIGURATION.md."""
AGAIN: Final = 1.0
"""Seconds between two counts until the first answer."""

_log = logging.getLogger("supervisor.worker")


class TooManyPartitionsError(Exception):
    """The topic has more partitions than workers of this size can hold."""


class PartitionCounter:
    """Counts the partitions of a topic.

    Args:
        topic: The topic.
        per_worker: How many partitions each worker gets.
        make: Makes a consumer of a configuration.
        config: Its configuration; it joins no group.
    """

    def __init__(
        self,
        topic: str,
        per_worker: int,
        make: Callable[[dict[str, Any]], Any],
        *,
        config: dict[str, Any],
    ) -> None:
        self._topic = topic
        self._per_worker = per_worker
        self._make = make
        self._config = config
        self._interval = _interval(config)
        self._reported = 0
        self._logged = ""
        self._closed = threading.Event()

    def first(self, stopping: Callable[[], bool]) -> int | None:
        """Count until there is an answer; return None once `stopping` returns true.

        Raises:
            TooManyPartitionsError: There are too many.
        """
        while not stopping():
            count = self._count()
            if count:
                problem = too_many(self._per_worker, count, self._topic)
                if problem:
                    raise TooManyPartitionsError(f"{problem}; write {fewest(count)} or more")
                self._reported = count
                return count
            self._closed.wait(AGAIN)
        return None

    def follow(self, report: Callable[[int], None]) -> None:
        """Count again and again, in a thread that ends with the process.

        Args:
            report: Called with the first count, if `first` did not return it, and with each new
                one.
        """
        thread = threading.Thread(
            target=self._follow, args=(report,), name="partitions", daemon=True
        )
        thread.start()

    def close(self) -> None:
        """Stop counting."""
        self._closed.set()

    def _follow(self, report: Callable[[int], None]) -> None:
        while not self._closed.wait(self._interval if self._reported else AGAIN):
            count = self._count()
            if not count or count == self._reported:
                continue
            problem = too_many(self._per_worker, count, self._topic)
            if problem:
                self._log_once(problem)
            else:
                self._reported = count
                report(count)

    def _count(self) -> int:
        """Return the number of partitions; 0 if it is unknown."""
        try:
            metadata = Broker().ask([self._topic], self._make, self._config)
        except Exception as error:  # noqa: BLE001 - counted again later
            self._log_once(f"{type(error).__name__}: {error}")
            return 0
        self._log_once(_problem(self._topic, metadata))
        return 0 if metadata.error else metadata.partitions[self._topic]

    def _log_once(self, problem: str) -> None:
        """Log a problem, unless it was logged last."""
        if problem and problem != self._logged:
            _log.warning("the topic's partitions cannot be counted: %s", problem)
        self._logged = problem


def _problem(topic: str, metadata: TopicMetadata) -> str:
    if metadata.error:
        return f"no broker answers: {metadata.error}"
    return "" if metadata.partitions[topic] else f"there is no topic {topic}"


def _interval(config: Mapping[str, Any]) -> float:
    """Return the seconds between two counts, also where clients do not refresh by themselves."""
    milliseconds = float(config.get(REFRESH, _REFRESH_MS))
    return (milliseconds if milliseconds > 0 else _REFRESH_MS) / 1000
