"""Find partitions that stand still although the brokers have more.

What the client itself knows of a log's end comes with its fetches. So it learns nothing of a
partition that it has stopped to fetch, and with a transaction that stays open it knows an end
that nobody may read up to yet. So the brokers are asked, seldom and shortly: the client lets no
other call in meanwhile, whatever thread it comes from. While they do not answer nothing is said
to stand still, for then nothing can move.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from confluent_kafka import OFFSET_END, KafkaException, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka import Consumer

    from flowodm.events import TP

ASK_EVERY = 15.0
"""Seconds between two questions. Only of partitions that have not moved meanwhile."""
ASK_TIMEOUT = 0.5
"""Seconds that an answer may take, and that polling may wait for it."""

_NOTHING: Mapping[TP, int] = MappingProxyType({})


class StallDetector:
    """Asks now and then whether partitions that do not move could.

    Args:
        consumer: Whose partitions they are.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._next = 0.0
        self._seen = _NOTHING
        self._behind = _NOTHING

    def look(self, idle: Mapping[TP, int], now: float) -> dict[TP, int]:
        """Return the partitions that stand still although there is more.

        Args:
            idle: Position of each partition of which nothing is in hand.
            now: Monotonic seconds.

        Returns:
            Those of them, with their positions, that could have moved at the latest answer.
        """
        if now >= self._next:
            self._next = now + ASK_EVERY
            standing = {tp: at for tp, at in idle.items() if self._seen.get(tp) == at}
            self._seen = idle
            self._behind = self._ask(standing) if standing else _NOTHING
        return {tp: at for tp, at in self._behind.items() if idle.get(tp) == at}

    def _ask(self, standing: Mapping[TP, int]) -> Mapping[TP, int]:
        asked = [TopicPartition(*tp, OFFSET_END) for tp in standing]
        try:
            answers = self._consumer.offsets_for_times(asked, timeout=ASK_TIMEOUT)
        except KafkaException:
            return _NOTHING  # nobody answers; whoever has to know is told otherwise
        ends = {(p.topic, p.partition): p.offset for p in answers if p.error is None}
        return {tp: at for tp, at in standing.items() if ends.get(tp, at) > at}
