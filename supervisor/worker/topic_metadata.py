"""Ask the broker how many partitions a topic has."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from supervisor.config.topic_size import ONLINE_TIMEOUT, TopicMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LONGEST = 8.0


_SHORTEST = 0.5


_UNKNOWN = "UNKNOWN_TOPIC_OR_PART"


class Broker:
    """Answers what topics there are, within a time that all consumers share."""

    def __init__(self) -> None:
        self._deadline = time.monotonic() + ONLINE_TIMEOUT

    def ask(
        self, topics: Iterable[str], make: Callable[[dict[str, Any]], Any], config: dict[str, Any]
    ) -> TopicMetadata:
        """How many partitions each of the topics has.

        Args:
            topics: The one that is consumed first.
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
            client.poll(0)  # the reasons come this way
            known = [reason for reason in reasons if "brokers are down" not in reason]
            return TopicMetadata(names[0], error=known[-1] if known else str(error))
        finally:
            client.close()
        return TopicMetadata(names[0], counts)

    def _count(self, client: Any, topic: str) -> int:
        left = self._deadline - time.monotonic()
        timeout = max(_SHORTEST, min(left, _LONGEST))
        found = client.list_topics(topic, timeout=timeout).topics[topic]
        if found.error is not None and found.error.name() != _UNKNOWN:
            raise ConnectionError(f"{topic}: {found.error.str()}")
        return len(found.partitions)
