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

    from flowodm.testing.memory.log import MemoryLog
    from flowodm.testing.memory.message import MemoryMessage
    from flowodm.testing.memory.topics import MemoryCluster

    Report = Callable[[KafkaError | None, MemoryMessage], Any]

_LONGEST_WAIT = 0.005
"""Seconds of the longest wait of a poll; closing a producer waits for the thread that polls it."""


class MemoryProducer:
    """Appends records at once; poll() and flush() call their delivery callbacks.

    Args:
        log: The in-memory Kafka's state.
        config: As for confluent_kafka.Producer; it has no effect.
    """

    def __init__(self, log: MemoryLog, config: dict[str, Any]) -> None:
        self._log = log
        self.config = config
        self._reports: deque[tuple[Report | None, KafkaError | None, MemoryMessage]] = deque()

    def __len__(self) -> int:
        """Count the records whose delivery is not reported yet."""
        return len(self._reports)

    def __bool__(self) -> bool:
        """Be true, also while :func:`len` is 0."""
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
        """Append a record; see confluent_kafka.Producer.produce."""
        record = Record(
            value=_bytes(value),
            key=key,
            headers=_headers(headers),
            partition=None if partition < 0 else partition,
            timestamp=timestamp or None,
        )
        error, message = self._log.produce(topic, record)
        with self._log.changed:
            self._reports.append((on_delivery or callback, error, message))
            self._log.changed.notify_all()

    def poll(self, timeout: float | None = -1) -> int:
        """Report deliveries; wait for one for at most a few milliseconds.

        Args:
            timeout: Seconds to wait at most; negative or None: no limit of its own.

        Returns:
            The number of deliveries reported.
        """
        deadline = _deadline(timeout)
        changed = self._log.changed
        with changed:
            if not self._reports and (remaining := deadline - time.monotonic()) > 0:
                changed.wait(min(remaining, _LONGEST_WAIT))
        return self._report()

    def flush(self, timeout: float | None = -1) -> int:
        """Report all deliveries; return the number of records in flight, which is 0."""
        del timeout
        self._report()
        return 0

    def purge(self, in_queue: bool = True, in_flight: bool = True, blocking: bool = True) -> None:
        """Do nothing: no record is in flight."""

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> MemoryCluster:
        """Describe the topics; see confluent_kafka.Producer.list_topics."""
        del timeout
        return metadata_of(self._log, topic)

    def _report(self) -> int:
        count = 0
        while self._reports:
            try:
                report, error, message = self._reports.popleft()
            except IndexError:
                break  # another thread took it
            if report is not None:
                report(error, message)
            count += 1
        return count


def _bytes(value: str | bytes | None) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    return None if value is None else bytes(value)


def _headers(
    headers: Mapping[str, Any] | Sequence[tuple[str, Any]] | None,
) -> tuple[tuple[str, bytes | None], ...]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return tuple((name, text.encode() if isinstance(text, str) else text) for name, text in pairs)


def _deadline(timeout: float | None) -> float:
    if timeout is None or timeout < 0:
        return float("inf")
    return time.monotonic() + timeout
