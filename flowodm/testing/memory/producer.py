"""A producer of the in-memory Kafka, with the methods of confluent_kafka.Producer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flowodm.testing.memory.topics import metadata_of
from flowodm.testing.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import KafkaError

    from flowodm.testing.memory.kafka import InMemoryKafka
    from flowodm.testing.memory.message import MemoryMessage
    from flowodm.testing.memory.topics import MemoryCluster

    Report = Callable[[KafkaError | None, MemoryMessage], Any]


class MemoryProducer:
    """What is produced is in its topic at once; delivery is reported in poll() and flush().

    Args:
        kafka: Where records go.
        config: As for confluent_kafka.Producer; nothing of it has an effect.
    """

    def __init__(self, kafka: InMemoryKafka, config: dict[str, Any]) -> None:
        self._kafka = kafka
        self.config = config
        self._reports: deque[tuple[Report | None, KafkaError | None, MemoryMessage]] = deque()

    def __len__(self) -> int:
        """How many messages have not been reported yet."""
        return len(self._reports)

    def __bool__(self) -> bool:
        """There is one, also if nothing is under way."""
        return True

    def produce(
        self,
        topic: str,
        value: str | bytes | None = None,
        key: str | bytes | None = None,
        partition: int = -1,
        callback: Report | None = None,
        on_delivery: Report | None = None,
        timestamp: int = 0,
        headers: Mapping[str, Any] | Sequence[tuple[str, Any]] | None = None,
    ) -> None:
        """As confluent_kafka.Producer.produce."""
        if isinstance(value, str):
            value = value.encode()
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        record = Record(
            None if value is None else bytes(value),
            key,
            tuple((name, text.encode() if isinstance(text, str) else text) for name, text in pairs),
            None if partition < 0 else partition,
            timestamp or None,
        )
        kafka = self._kafka
        error, message = kafka.produced(topic, record)
        with kafka.changed:
            self._reports.append((on_delivery or callback, error, message))
            kafka.changed.notify_all()

    def poll(self, timeout: float | None = -1) -> int:
        """Wait for a report, shortly at most; returns how many there were."""
        deadline = _deadline(timeout)
        kafka = self._kafka
        with kafka.changed:
            if not self._reports and (left := deadline - time.monotonic()) > 0:
                kafka.changed.wait(min(left, _LONGEST_WAIT))
        return self._report()

    def flush(self, timeout: float | None = -1) -> int:
        """Report all; returns how many are left, that is 0."""
        del timeout
        self._report()
        return 0

    def purge(self, in_queue: bool = True, in_flight: bool = True, blocking: bool = True) -> None:
        """Nothing is under way: there is nothing to be dropped."""

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> MemoryCluster:
        """As confluent_kafka.Producer.list_topics."""
        del timeout
        return metadata_of(self._kafka, topic)

    def _report(self) -> int:
        count = 0
        while self._reports:
            try:
                report, error, message = self._reports.popleft()
            except IndexError:
                break  # another thread has it
            if report is not None:
                report(error, message)
            count += 1
        return count


#: Seconds; whoever closes a producer waits for the thread that polls it.
_LONGEST_WAIT = 0.005


def _deadline(timeout: float | None) -> float:
    endless = timeout is None or timeout < 0
    return float("inf") if endless else time.monotonic() + (timeout or 0.0)
