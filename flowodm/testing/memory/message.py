"""A record of the in-memory Kafka, with the methods of confluent_kafka.Message.

Older versions of confluent_kafka make their own only in C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import OFFSET_INVALID, TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

    from flowodm.testing.records import Headers


class MemoryMessage:
    """As confluent_kafka.Message.

    Args:
        topic: The topic.
        partition: Its partition.
        offset: Its offset; None: it has none.
        value: Its value; None for a tombstone.
        key: Its key.
        headers: Its headers.
        timestamp: Milliseconds since 1970; None: it has none.
        error: What it tells instead of a record.
    """

    __slots__ = (
        "_error",
        "_headers",
        "_key",
        "_offset",
        "_partition",
        "_timestamp",
        "_topic",
        "_value",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int | None,
        *,
        value: bytes | None = None,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp: int | None = None,
        error: KafkaError | None = None,
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._offset = OFFSET_INVALID if offset is None else offset
        self._value = value
        self._key = key
        self._headers = list(headers) or None
        self._timestamp = timestamp
        self._error = error

    def __repr__(self) -> str:
        return f"MemoryMessage({self._topic!r}, {self._partition}, {self._offset})"

    def __len__(self) -> int:
        return len(self._value or b"")

    def __bool__(self) -> bool:
        return True

    def topic(self) -> str:
        """Its topic."""
        return self._topic

    def partition(self) -> int:
        """Its partition."""
        return self._partition

    def offset(self) -> int:
        """Its offset; OFFSET_INVALID if it has none."""
        return self._offset

    def value(self) -> bytes | None:
        """Its value; None for a tombstone."""
        return self._value

    def key(self) -> bytes | None:
        """Its key; None if it has none."""
        return self._key

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """Its headers; None if it has none."""
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        """The kind of timestamp, and milliseconds since 1970."""
        if self._timestamp is None:
            return TIMESTAMP_NOT_AVAILABLE, 0
        return TIMESTAMP_CREATE_TIME, self._timestamp

    def error(self) -> KafkaError | None:
        """What it tells instead of a record; None if it is one."""
        return self._error

    def latency(self) -> float | None:
        """Seconds from produce() to its delivery: none."""
        return 0.0

    def leader_epoch(self) -> int | None:
        """None: there is no leader."""
        return None
