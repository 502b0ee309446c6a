"""A record of the in-memory Kafka, with the methods of confluent_kafka.Message.

In older versions of confluent_kafka, Python code cannot make a Message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import OFFSET_INVALID, TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

    from flowodm.testing.records import Headers


class MemoryMessage:
    """A record or an error event; see confluent_kafka.Message.

    Args:
        topic: The topic.
        partition: The partition.
        offset: The offset; None: it was not appended.
        value: The value; None for a tombstone.
        key: The key.
        headers: The headers.
        timestamp: Milliseconds since 1970; None: there is none.
        error: The error of an error event; None: this is a record.
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
        """Return the topic."""
        return self._topic

    def partition(self) -> int:
        """Return the partition."""
        return self._partition

    def offset(self) -> int:
        """Return the offset; OFFSET_INVALID if the record was not appended."""
        return self._offset

    def value(self) -> bytes | None:
        """Return the value; None for a tombstone."""
        return self._value

    def key(self) -> bytes | None:
        """Return the key; None if there is none."""
        return self._key

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """Return the headers; None if there are none."""
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of timestamp, and milliseconds since 1970."""
        if self._timestamp is None:
            return TIMESTAMP_NOT_AVAILABLE, 0
        return TIMESTAMP_CREATE_TIME, self._timestamp

    def error(self) -> KafkaError | None:
        """Return the error of an error event; None for a record."""
        return self._error

    def latency(self) -> float | None:
        """Return the seconds from produce() to the delivery."""
        return 0.0

    def leader_epoch(self) -> int | None:
        """Return None: there is no leader."""
        return None
