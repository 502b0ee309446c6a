"""The headers of a dead letter: how they are written and read. Pure.

They are Spring Kafka's, so that its tools read ours and ours read Spring's. The names are the
constants ``DLT_*`` of its class KafkaHeaders. The encodings are those of its
DeadLetterPublishingRecoverer, methods maybeAddOriginalHeaders and addExceptionInfoHeaders: text is
UTF-8, the partition a big-endian int of 4 bytes, offset and timestamp (milliseconds since 1970)
big-endian longs of 8 bytes, the timestamp's type a name of Java's TimestampType.

A dead letter that is consumed with its headers and fails again is treated as Spring does by
default: the place of the new failure is added behind that of the first one, and the last one
counts; the exception is replaced, because stack traces would pile up.
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

KEY_EXCEPTION: Final = "kafka_dlt-key-exception-fqcn"
"""Spring writes this and the next two instead if a key could not be decoded."""
KEY_MESSAGE: Final = "kafka_dlt-key-exception-message"
KEY_STACK_TRACE: Final = "kafka_dlt-key-exception-stacktrace"

PLACE: Final = frozenset({TOPIC, PARTITION, OFFSET, TIMESTAMP, TIMESTAMP_TYPE, GROUP})
"""Headers that say where a record failed; each failure adds one of each."""

REASON: Final = frozenset(
    {EXCEPTION, CAUSE, MESSAGE, STACK_TRACE, KEY_EXCEPTION, KEY_MESSAGE, KEY_STACK_TRACE}
)
"""Headers that say why it failed; each failure replaces those of the failure before."""

REPLAYS: Final = "flowodm_replays"
"""Our own header on a replayed record: its number of replays, in decimal digits."""

MESSAGE_BYTES: Final = 2_000
"""The most bytes of an exception's text.

The broker refuses a dead letter that is larger than it allows, and a record may be nearly that
large by itself.
"""
STACK_TRACE_BYTES: Final = 8_000
"""The most bytes of an exception's stack trace."""
BRIEF_BYTES: Final = 200
"""The most bytes of an exception's text if the dead letter was too large; it has no stack trace."""


Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]

_MOST_DIGITS: Final = 9
"""The most digits of a number of replays; a longer one is not ours."""

_INT, _LONG = struct.Struct(">i"), struct.Struct(">q")
_TIMESTAMP_TYPES = {0: "NoTimestampType", 1: "CreateTime", 2: "LogAppendTime"}
"""Java's names for the values of confluent_kafka's TIMESTAMP_* constants."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FetchedRecord(Protocol):
    """The methods of ``confluent_kafka.Message`` that are used here."""

    def topic(self) -> str | None:
        """Return the topic."""

    def partition(self) -> int | None:
        """Return the partition."""

    def offset(self) -> int | None:
        """Return the offset."""

    def timestamp(self) -> tuple[int, int]:
        """Return the timestamp's type and the milliseconds since 1970."""

    def key(self) -> Any:
        """Return the key's bytes; None if it has none."""

    def value(self) -> Any:
        """Return the value's bytes; None for a tombstone."""

    def headers(self) -> Any:
        """Return pairs of name and bytes or None; None if there are none."""


def letter_headers(
    record: FetchedRecord, error: BaseException, group: str, *, brief: bool
) -> Headers:
    """Make a dead letter's headers: the record's own in their order, then those of the failure.

    Args:
        record: The record that failed.
        error: Its last failure.
        group: The consumer group that gave it up.
        brief: Leave out the stack trace and shorten the text, because the dead letter is too
            large otherwise.
    """
    kept = [(name, value) for name, value in record.headers() or () if name not in REASON]
    kind, milliseconds = record.timestamp()
    place: Headers = (
        (TOPIC, (record.topic() or "").encode()),
        (PARTITION, _INT.pack(_or_minus_one(record.partition()))),
        (OFFSET, _LONG.pack(_or_minus_one(record.offset()))),
        (TIMESTAMP, _LONG.pack(milliseconds)),
        (TIMESTAMP_TYPE, _TIMESTAMP_TYPES.get(kind, _TIMESTAMP_TYPES[0]).encode()),
        (GROUP, group.encode()),
    )
    return (*kept, *place, *_exception_headers(error, brief=brief))


def _or_minus_one(number: int | None) -> int:
    return -1 if number is None else number


def _exception_headers(error: BaseException, *, brief: bool) -> Headers:
    headers = [(EXCEPTION, class_name(error).encode())]
    cause = _cause_of(error)
    if cause is not None:
        headers.append((CAUSE, class_name(cause).encode()))
    if brief:
        headers.append((MESSAGE, _cut_end(_text(error), BRIEF_BYTES)))
        return tuple(headers)
    headers.append((MESSAGE, _cut_end(_text(error), MESSAGE_BYTES)))
    trace = "".join(traceback.format_exception(error))
    headers.append((STACK_TRACE, _cut_beginning(trace, STACK_TRACE_BYTES)))
    return tuple(headers)


def _cause_of(error: BaseException) -> BaseException | None:
    """Return the exception that a traceback shows above this one."""
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def class_name(error: BaseException) -> str:
    """Name an exception's class as tracebacks do: with its module, unless that is builtins."""
    cls = type(error)
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - the first error is the one that matters
        return f"(its text cannot be shown: {type(broken).__name__})"


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")  # lone surrogates come from undecodable bytes


def _cut_end(text: str, most: int) -> bytes:
    """Encode the beginning of a text, in so many bytes."""
    data = _encoded(text[: most + 1])
    if len(data) <= most:
        return data
    return data[: most - 3].decode(errors="ignore").encode() + b"..."


def _cut_beginning(text: str, most: int) -> bytes:
    """Encode the end of a stack trace: the innermost call and the exception come last."""
    data = _encoded(text[-most - 1 :])
    if len(data) <= most:
        return data
    return b"..." + data[3 - most :].decode(errors="ignore").encode()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of a dead-letter topic, and what its headers say about the failure.

    An attribute is None if its header is missing or has another encoding than Spring's.

    Attributes:
        topic: The dead-letter topic.
        partition: Its partition in the dead-letter topic.
        offset: Its offset in the dead-letter topic.
        timestamp: When it was sent there, in UTC.
        key: The record's key.
        value: The record's value; None for a tombstone.
        headers: All headers in their order, those of the failure included.
        original_topic: The topic where it failed.
        original_partition: Its partition in that topic.
        original_offset: Its offset in that topic.
        original_timestamp: Its timestamp in that topic, in UTC.
        group: The consumer group that gave it up.
        exception_class: The exception's class: "module.Class", or "ValueError" for Python's own.
        exception_message: The exception's text, cut to 2,000 bytes if flowodm wrote it.
        cause_class: The class of the exception's cause. Spring wraps a listener's exception, so
            in Spring's dead letters this is the class of interest.
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
    def of(cls, record: FetchedRecord) -> Self:
        """Read a record of a dead-letter topic, whichever program wrote it."""
        headers: Headers = tuple(record.headers() or ())
        values = dict(headers)  # of several headers with the same name the last one counts
        kind, milliseconds = record.timestamp()
        return cls(
            topic=record.topic() or "",
            partition=_or_minus_one(record.partition()),
            offset=_or_minus_one(record.offset()),
            timestamp=_moment(milliseconds) if kind else None,
            key=record.key(),
            value=record.value(),
            headers=headers,
            original_topic=_string(values, TOPIC),
            original_partition=_number(values, PARTITION, _INT),
            original_offset=_number(values, OFFSET, _LONG),
            original_timestamp=_moment(_number(values, TIMESTAMP, _LONG)),
            group=_string(values, GROUP),
            exception_class=_string(values, EXCEPTION, KEY_EXCEPTION),
            exception_message=_string(values, MESSAGE, KEY_MESSAGE),
            cause_class=_string(values, CAUSE),
            stack_trace=_string(values, STACK_TRACE, KEY_STACK_TRACE),
        )

    @property
    def replays(self) -> int:
        """How often the record was replayed before it failed this time."""
        digits = _string(dict(self.headers), REPLAYS) or ""
        if digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS:
            return int(digits)
        return 0

    @property
    def original_headers(self) -> Headers:
        """The headers that the record had before it failed."""
        kept, left_out = [], set()
        for name, value in reversed(self.headers):
            if name in REASON:
                continue
            if name in PLACE and name not in left_out:
                left_out.add(name)  # an earlier one is of an earlier failure
                continue
            kept.append((name, value))
        return tuple(reversed(kept))

    @property
    def replay_headers(self) -> Headers:
        """The headers of its replay: its own, and the number of its replays."""
        kept = (header for header in self.original_headers if header[0] != REPLAYS)
        return (*kept, (REPLAYS, str(self.replays + 1).encode()))


def _string(values: dict[str, bytes | None], *names: str) -> str | None:
    """Return the text of the first of these headers that is there."""
    for name in names:
        value = values.get(name)
        if value is not None:
            return value.decode(errors="replace")
    return None


def _number(values: dict[str, bytes | None], name: str, form: struct.Struct) -> int | None:
    value = values.get(name)
    if value is None or len(value) != form.size:
        return None
    number: int = form.unpack(value)[0]
    return number if number >= 0 else None


def _moment(milliseconds: int | None) -> datetime | None:
    try:
        return None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
