"""Asks a broker how many partitions topics have."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from supervisor.config.topic_size import ONLINE_TIMEOUT, TopicMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LONGEST = 8.0
"""Seconds that one request may take."""
_SHORTEST = 0.5
"""Seconds that each request gets, even past the common deadline."""
_UNKNOWN = "UNKNOWN_TOPIC_OR_PART"
"""Kafka's name for the error of a topic that does not exist."""


class Broker:
    """Asks brokers for topics, until a deadline that all consumers share."""

    def __init__(self) -> None:
        self._deadline = time.monotonic() + ONLINE_TIMEOUT

    def ask(
        self, topics: Iterable[str], make: Callable[[dict[str, Any]], Any], config: dict[str, Any]
    ) -> TopicMetadata:
        """Return how many partitions each of the topics has.

        Args:
            topics: The topics; the consumed one first.
            make: Makes a consumer of a configuration.
            config: Its configuration; it joins no group.
        """
        names = list(dict.fromkeys(topics))
        reasons: list[str] = []
        client = make(
            {
                **config,
                "log_level": 0,
                "allow.auto.create.topics": False,
                "error_cb": lambda error: reasons.append(error.str()),
            }
        )
        counts: dict[str, int] = {}
        try:
            for name in names:
                counts[name] = self._count(client, name)
        except Exception as error:  # noqa: BLE001 - librdkafka's, which may not be imported here
            client.poll(0)  # this calls error_cb
            return TopicMetadata(names[0], error=_best_reason(reasons) or str(error))
        finally:
            client.close()
        return TopicMetadata(names[0], counts)

    def _count(self, client: Any, topic: str) -> int:
        left = self._deadline - time.monotonic()
        timeout = max(_SHORTEST, min(left, _LONGEST))
        metadata = client.list_topics(topic, timeout=timeout).topics[topic]
        if metadata.error is not None and metadata.error.name() != _UNKNOWN:
            raise ConnectionError(f"{topic}: {metadata.error.str()}")
        return len(metadata.partitions)


def _best_reason(reasons: list[str]) -> str:
    """Return the latest reason that says more than that all brokers are down."""
    specific = [reason for reason in reasons if "brokers are down" not in reason]
    return specific[-1] if specific else ""
