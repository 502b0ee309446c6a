"""Dead letters: what one carries besides the record, and how many a loop may write. Pure.

The headers are Spring Kafka's, so that its tools read ours and ours read those of Spring. Names:
the constants ``DLT_*`` of its class KafkaHeaders. Encodings: its DeadLetterPublishingRecoverer,
methods maybeAddOriginalHeaders and addExceptionInfoHeaders: text is UTF-8, the partition a
big-endian int of 4 bytes, offset and timestamp (milliseconds since 1970) big-endian longs of 8
bytes, the timestamp's type a name of Java's TimestampType.

A record that comes from a dead-letter topic, headers and all, and fails again is treated as
Spring does by default: the place of the new failure is added behind the one of the first, and
the last one counts; the exception is replaced, because stack traces would pile up.
"""

from __future__ import annotations

import struct
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, Self, TypeAlias

TOPIC: Final = "kafka_dlt-original-topic"
PARTITION: Final = "kafka_dlt-original-partition"
OFFSET: Final = "kafka_dlt-original-offset"
TIMESTAMP: Final = "kafka_dlt-original-timestamp"
TIMESTAMP_TYPE: Final = "kafka_dlt-original-timestamp-type"
GROUP: Final = "kafka_dlt-original-consumer-group"
EXCEPTION: Final = "kafka_dlt-exception-fqcn"
CAUSE: Final = "kafka_dlt-exception-cause-fqcn"
MESSAGE: Final = "kafka_dlt-exception-message"
STACK_TRACE: Final = "kafka_dlt-exception-stacktrace"
# What Spring writes instead where a key could not be decoded.
KEY_EXCEPTION: Final = "kafka_dlt-key-exception-fqcn"
KEY_MESSAGE: Final = "kafka_dlt-key-exception-message"
KEY_STACK_TRACE: Final = "kafka_dlt-key-exception-stacktrace"

#: Where a record was when it failed: one of each is added by each failure.
PLACE: Final = frozenset({TOPIC, PARTITION, OFFSET, TIMESTAMP, TIMESTAMP_TYPE, GROUP})
#: Why it failed: each failure replaces what the one before has left.
REASON: Final = frozenset(
    {EXCEPTION, CAUSE, MESSAGE, STACK_TRACE, KEY_EXCEPTION, KEY_MESSAGE, KEY_STACK_TRACE}
)

#: Ours, on a replayed record: how often it was put back, as a decimal number in text.
REPLAYS: Final = "flowodm_replays"

#: The most bytes of an exception's text and of its stack trace. A dead letter that is larger than
#: the broker allows cannot be delivered, and a record may be nearly that large by itself.
MESSAGE_BYTES: Final = 2_000
STACK_TRACE_BYTES: Final = 8_000
#: The same for the text where a dead letter was too large; there is no stack trace then.
BRIEF_BYTES: Final = 200


Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]

_INT, _LONG = struct.Struct(">i"), struct.Struct(">q")
#: confluent_kafka's TIMESTAMP_* constants as Java names them.
_TIMESTAMP_TYPES = {0: "NoTimestampType", 1: "CreateTime", 2: "LogAppendTime"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Record(Protocol):
    """What is needed of a fetched record; ``confluent_kafka.Message`` has it."""

    def topic(self) -> str | None:
        """Its topic."""

    def partition(self) -> int | None:
        """Its partition."""

    def offset(self) -> int | None:
        """Its place in the partition."""

    def timestamp(self) -> tuple[int, int]:
        """Type and milliseconds since 1970."""

    def key(self) -> Any:
        """The key's bytes; None if it has none."""

    def value(self) -> Any:
        """The value's bytes; None for a tombstone."""

    def headers(self) -> Any:
        """Pairs of name and bytes or None; None if there are none."""


def letter_headers(record: Record, error: BaseException, group: str, *, brief: bool) -> Headers:
    """A dead letter's headers: the record's own, in their order, and then those that say why.

    Args:
        record: What failed.
        error: Its last failure.
        group: The consumer group that gave it up.
        brief: Without the stack trace and with less text, for a record that is too large else.
    """
    kept = [(name, value) for name, value in record.headers() or () if name not in REASON]
    kind, milliseconds = record.timestamp()
    place: Headers = (
        (TOPIC, (record.topic() or "").encode()),
        (PARTITION, _INT.pack(_known(record.partition()))),
        (OFFSET, _LONG.pack(_known(record.offset()))),
        (TIMESTAMP, _LONG.pack(milliseconds)),
        (TIMESTAMP_TYPE, _TIMESTAMP_TYPES.get(kind, _TIMESTAMP_TYPES[0]).encode()),
        (GROUP, group.encode()),
    )
    return (*kept, *place, *_exception_headers(error, brief=brief))


def _known(number: int | None) -> int:
    return -1 if number is None else number


def _exception_headers(error: BaseException, *, brief: bool) -> Headers:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    headers = [(EXCEPTION, class_name(error).encode())]
    if cause is not None:
        headers.append((CAUSE, class_name(cause).encode()))
    headers.append((MESSAGE, _beginning(_text(error), BRIEF_BYTES if brief else MESSAGE_BYTES)))
    if not brief:
        trace = "".join(traceback.format_exception(error))
        headers.append((STACK_TRACE, _end(trace, STACK_TRACE_BYTES)))
    return tuple(headers)


def class_name(error: BaseException) -> str:
    """An exception's class as tracebacks name it: with its module, unless that is builtins."""
    cls = type(error)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - the first error is the one that matters
        return f"(its text cannot be shown: {type(broken).__name__})"


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")  # lone surrogates come from undecodable bytes


def _beginning(text: str, most: int) -> bytes:
    data = _encoded(text[: most + 1])
    return data if len(data) <= most else data[: most - 3].decode(errors="ignore").encode() + b"..."


def _end(text: str, most: int) -> bytes:
    """Python's innermost call and the exception come last."""
    data = _encoded(text[-most - 1 :])
    return data if len(data) <= most else b"..." + data[3 - most :].decode(errors="ignore").encode()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of a dead-letter topic, and what its headers say about how it came there.

    What a dead letter does not say, or says in another encoding than Spring's, is None.

    Attributes:
        topic: The dead-letter topic.
        partition: Its partition there.
        offset: Its offset there.
        timestamp: When it was put there, in UTC.
        key: The record's key.
        value: The record's value; None for a tombstone.
        headers: All headers in their order, those of the failure included.
        original_topic: Where it failed.
        original_partition: Its partition there.
        original_offset: Its offset there.
        original_timestamp: Its timestamp there, in UTC.
        group: The consumer group that gave it up.
        exception_class: The exception's class: "module.Class", or "ValueError" for Python's own.
        exception_message: The exception's text, cut to 2,000 bytes if flowodm wrote it.
        cause_class: The class of the exception's cause. Spring wraps a listener's exception, so
            in its dead letters this is the one to look at.
        stack_trace: The stack trace, of which flowodm keeps the last 8,000 bytes.
    """

    topic: str
    partition: int
    offset: int
    timestamp: datetime | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    original_topic: str | None
    original_partition: int | None
    original_offset: int | None
    original_timestamp: datetime | None
    group: str | None
    exception_class: str | None
    exception_message: str | None
    cause_class: str | None
    stack_trace: str | None

    @classmethod
    def of(cls, record: Record) -> Self:
        """Read a record of a dead-letter topic, whoever wrote it."""
        headers: Headers = tuple(record.headers() or ())
        said = dict(headers)  # of several headers of a name the last counts
        kind, milliseconds = record.timestamp()
        return cls(
            topic=record.topic() or "",
            partition=_known(record.partition()),
            offset=_known(record.offset()),
            timestamp=_moment(milliseconds) if kind else None,
            key=record.key(),
            value=record.value(),
            headers=headers,
            original_topic=_string(said, TOPIC),
            original_partition=_number(said, PARTITION, _INT),
            original_offset=_number(said, OFFSET, _LONG),
            original_timestamp=_moment(_number(said, TIMESTAMP, _LONG)),
            group=_string(said, GROUP),
            exception_class=_string(said, EXCEPTION, KEY_EXCEPTION),
            exception_message=_string(said, MESSAGE, KEY_MESSAGE),
            cause_class=_string(said, CAUSE),
            stack_trace=_string(said, STACK_TRACE, KEY_STACK_TRACE),
        )

    @property
    def replays(self) -> int:
        """How often the record was put back before it failed this time."""
        said = _string(dict(self.headers), REPLAYS) or ""
        return int(said) if said.isascii() and said.isdecimal() and len(said) < 10 else 0  # noqa: PLR2004 - nobody replays a billion times

    @property
    def original_headers(self) -> Headers:
        """The headers that the record had before it failed."""
        kept, taken = [], set()
        for name, value in reversed(self.headers):
            if name in REASON:
                continue
            if name in PLACE and name not in taken:
                taken.add(name)  # an earlier one is of an earlier failure
                continue
            kept.append((name, value))
        return tuple(reversed(kept))

    @property
    def replay_headers(self) -> Headers:
        """The headers for putting it back: its own, and how often that was done."""
        kept = (header for header in self.original_headers if header[0] != REPLAYS)
        return (*kept, (REPLAYS, str(self.replays + 1).encode()))


def _string(said: dict[str, bytes | None], *names: str) -> str | None:
    for name in names:
        value = said.get(name)
        if value is not None:
            return value.decode(errors="replace")
    return None


def _number(said: dict[str, bytes | None], name: str, form: struct.Struct) -> int | None:
    value = said.get(name)
    if value is None or len(value) != form.size:
        return None
    number: int = form.unpack(value)[0]
    return number if number >= 0 else None


def _moment(milliseconds: int | None) -> datetime | None:
    try:
        return None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
