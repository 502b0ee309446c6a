"""MessageContext: what a handler can learn about a record besides its message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE

from flowodm.avro import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Message

    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.stop import StopSwitch

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Headers = tuple[tuple[str, bytes | None], ...]

Handler: TypeAlias = "Callable[[Any], Any] | Callable[[Any, Any], Any]"
"""A loop's handler: ``def handle(order)`` or ``def handle(order, context)``; with ``batch_size`` it
takes lists of them."""


class MessageContext:
    """The second argument of handlers that take one: ``def handle(order, context)``.

    Attributes:
        raw: The Kafka message as confluent_kafka gives it.
        attempt: 1 for the first attempt at this record, 2 for the first retry, and so on.
    """

    __slots__ = ("_framed", "_run", "_switch", "attempt", "raw")

    def __init__(
        self, raw: Message, run: Run, switch: StopSwitch, *, attempt: int, framed: bool
    ) -> None:
        self.raw = raw
        self.attempt = attempt
        self._run = run
        self._switch = switch
        self._framed = framed

    def __repr__(self) -> str:
        """Show where the record is, and nothing of its content."""
        place = f"topic={self.topic!r}, partition={self.partition}, offset={self.offset}"
        return f"MessageContext({place}, attempt={self.attempt})"

    @property
    def topic(self) -> str:
        """The record's topic."""
        return self._run.partition.tp[0]

    @property
    def partition(self) -> int:
        """The record's partition."""
        return self._run.partition.tp[1]

    @property
    def offset(self) -> int:
        """The record's offset."""
        offset = self.raw.offset()
        return -1 if offset is None else offset

    @property
    def key(self) -> bytes | None:
        """The key's bytes; None if it has none."""
        return self.raw.key()

    @property
    def headers(self) -> Headers:
        """All headers in their order; a name may occur more than once."""
        return headers_of(self.raw)

    def header(self, name: str) -> bytes | None:
        """Return the value of the last header with this name; None if there is none."""
        for header, value in reversed(self.headers):
            if header == name:
                return value
        return None

    @property
    def timestamp(self) -> datetime | None:
        """The record's time with time zone UTC; None if it has none.

        It is the producer's, or the broker's where the topic's ``message.timestamp.type`` is
        LogAppendTime.
        """
        kind, milliseconds = self.raw.timestamp()
        if kind == TIMESTAMP_NOT_AVAILABLE:
            return None
        return _EPOCH + timedelta(milliseconds=milliseconds)

    @property
    def schema_id(self) -> int | None:
        """The id of the writer's schema; None for bare Avro."""
        value = self.raw.value()
        return wire.schema_id_of(value) if self._framed and isinstance(value, bytes) else None

    @property
    def stopping(self) -> bool:
        """Whether the loop was asked to stop, or the partition is being revoked.

        A long handler that looks at it can end early by raising an exception, so that its record
        does not count as processed.
        """
        return self._run.halted or self._run.partition.leaving or self._switch.pressed


def headers_of(record: Message) -> Headers:
    """Return a record's headers; an empty tuple if it has none."""
    headers: Any = record.headers()  # librdkafka gives bytes, whatever the stub allows
    return tuple(headers or ())
