"""Counting a topic's partitions, in the first worker of a consumer that pins them by size.

Each look is a client of its own, which asks one question and is gone: the loop's client belongs
to its poller, and a second one that stays would cost threads and memory for an answer that
hardly ever changes.
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
"""How often a client asks for a topic's partitions; a new one is found as late (librdkafka)."""
_REFRESH_MS: Final = 300_000.0
"""librdkafka's own value, by its CONFIGURATION.md."""
AGAIN: Final = 1.0
"""Seconds between two questions until the first answer."""

log = logging.getLogger("supervisor.worker")


class TooManyError(Exception):
    """The topic has more partitions than workers of this size can hold."""


class Counting:
    """Asks how many partitions a topic has.

    Args:
        topic: The topic.
        per_worker: How many each worker holds.
        make: Makes a consumer of a configuration.
        config: Its configuration; it joins no group.
    """

    def __init__(
        self,
        topic: str,
        per_worker: int,
        make: Callable[[dict[str, Any]], Any],
        config: dict[str, Any],
    ) -> None:
        self._topic = topic
        self._per_worker = per_worker
        self._make = make
        self._config = config
        self._interval = _interval(config)
        self._known = 0
        self._said = ""
        self._over = threading.Event()

    def first(self, stopping: Callable[[], bool]) -> int | None:
        """Ask until there is an answer; None if `stopping` becomes true before.

        Raises:
            TooManyError: It has too many.
        """
        while not stopping():
            if count := self._count():
                if problem := too_many(self._per_worker, count, self._topic):
                    raise TooManyError(f"{problem}; write {fewest(count)} or more")
                self._known = count
                return count
            self._over.wait(AGAIN)
        return None

    def follow(self, tell: Callable[[int], None]) -> None:
        """Ask again and again, in a thread that ends with the process.

        Args:
            tell: Gets the first answer, if `first` did not have it, and each one that differs.
        """
        thread = threading.Thread(target=self._follow, args=(tell,), name="partitions", daemon=True)
        thread.start()

    def close(self) -> None:
        """Ask no more."""
        self._over.set()

    def _follow(self, tell: Callable[[int], None]) -> None:
        while not self._over.wait(self._interval if self._known else AGAIN):
            count = self._count()
            if not count or count == self._known:
                continue
            if problem := too_many(self._per_worker, count, self._topic):
                self._say(problem)
            else:
                self._known = count
                tell(count)

    def _count(self) -> int:
        try:
            seen = Broker().ask([self._topic], self._make, self._config)
        except Exception as error:  # noqa: BLE001 - asked again; what holds the group is the loop
            self._say(f"{type(error).__name__}: {error}")
            return 0
        count = 0 if seen.error else seen.partitions[self._topic]
        self._say(_trouble(self._topic, seen))
        return count

    def _say(self, trouble: str) -> None:
        """Log what is new of what is wrong."""
        if trouble and trouble != self._said:
            log.warning("the topic's partitions cannot be counted: %s", trouble)
        self._said = trouble


def _trouble(topic: str, seen: TopicMetadata) -> str:
    if seen.error:
        return f"no broker answers: {seen.error}"
    return "" if seen.partitions[topic] else f"there is no topic {topic}"


def _interval(config: Mapping[str, Any]) -> float:
    """Seconds between two looks; a client that is not to refresh by itself still follows."""
    milliseconds = float(config.get(REFRESH, _REFRESH_MS))
    return (milliseconds if milliseconds > 0 else _REFRESH_MS) / 1000
