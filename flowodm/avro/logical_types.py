"""Convert the Python values of Avro's logical types to the numbers, bytes and strings below them.

All but two logical types are the specification's. ``timedelta-micros`` on a long is our own:
Avro's ``duration`` counts months, days and milliseconds, so it cannot hold a timedelta. ``tuple``
on a record is our own too. Readers must ignore a logical type that they do not know (Avro
specification 1.11, "Logical Types"), so they get the long, and the record. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

Convert: TypeAlias = Callable[[Any], Any]

TIMEDELTA = "timedelta-micros"
TUPLE = "tuple"

EXACT = "flowodm-exact"
"""The logical type of a writer's number or string that is not promoted; never published."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

_LONG = 2**63
_EPOCH_DAY = EPOCH.toordinal()
LOCAL_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - Avro's local timestamps have no zone
# Nothing is ever rounded: what does not fit is an error.
_EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[Inexact, InvalidOperation])


def logical_writer(schema: Mapping[str, Any]) -> Convert | None:
    """Return the conversion of values for this schema; None if its logical type is unknown.

    It raises TypeError, ValueError, AttributeError or OverflowError for a value of another type
    or out of range.
    """
    base, logical = schema["type"], schema.get("logicalType")
    if logical is None or not isinstance(base, str):
        return None
    if logical == "decimal" and base in {"bytes", "fixed"}:
        return partial(_decimal_bytes, schema)
    return _WRITERS.get((base, logical))


def python_types(logical: str | None) -> tuple[type, ...]:
    """Return the Python types of a logical type; none if the logical type is unknown."""
    return _PYTHON_TYPES.get(logical, ())


def decimal_of(data: bytes, schema: Mapping[str, Any]) -> Decimal:
    """Return the exact number that a decimal's bytes hold: big-endian two's complement."""
    unscaled = int.from_bytes(data, "big", signed=True)
    return Decimal(unscaled).scaleb(-schema.get("scale", 0), _EXACT)


def timedelta_of(micros: int) -> timedelta:
    """Return the timedelta of a ``timedelta-micros``.

    Raises:
        OverflowError: It is longer than Python's longest timedelta.
    """
    return timedelta(microseconds=micros)


def _decimal_bytes(schema: Mapping[str, Any], value: Any) -> bytes:
    precision, scale = schema["precision"], schema.get("scale", 0)
    if not isinstance(value, Decimal):
        raise TypeError(f"must be a Decimal, got {type(value).__name__}")
    if not value.is_finite():
        raise ValueError("an Avro decimal cannot be NaN or infinite")
    if value.adjusted() + scale >= precision and value:
        raise ValueError(f"the number has more than {precision} digits (scale {scale})")
    try:
        unscaled = int(value.scaleb(scale, _EXACT).to_integral_exact(context=_EXACT))
    except Inexact:
        raise ValueError(f"the number has more than {scale} decimal places") from None
    size = schema.get("size") or (unscaled + (unscaled < 0)).bit_length() // 8 + 1
    return unscaled.to_bytes(size, "big", signed=True)


def _micros(value: datetime) -> int:
    since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _millis(value: datetime) -> int:
    return _micros(value) // 1_000


def _local_micros(value: datetime) -> int:
    if value.tzinfo is not None:
        raise ValueError("an Avro local timestamp has no time zone; give a naive datetime")
    return (value - LOCAL_EPOCH) // MICROSECOND


def _local_millis(value: datetime) -> int:
    return _local_micros(value) // 1_000


def _days(value: date) -> int:
    if isinstance(value, datetime):
        raise TypeError("must be a date, got datetime")
    return value.toordinal() - _EPOCH_DAY


def _time_micros(value: time) -> int:
    if value.tzinfo is not None:
        raise ValueError("an Avro time of day has no time zone; give a naive time")
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return seconds * 1_000_000 + value.microsecond


def _time_millis(value: time) -> int:
    return _time_micros(value) // 1_000


def _timedelta_micros(value: timedelta) -> int:
    if not isinstance(value, timedelta):
        raise TypeError(f"must be a timedelta, got {type(value).__name__}")
    micros = value // MICROSECOND
    if not -_LONG <= micros < _LONG:
        raise ValueError("the time span does not fit into Avro's long (64 bits) as microseconds")
    return micros


def _uuid(value: Any) -> str:
    if isinstance(value, str):  # the model has str, the schema that was given has a UUID
        UUID(value)
        return value
    if not isinstance(value, UUID):
        raise TypeError(f"must be a UUID, got {type(value).__name__}")
    return str(value)


def _uuid_bytes(value: Any) -> bytes:
    if not isinstance(value, UUID):
        raise TypeError(f"must be a UUID, got {type(value).__name__}")
    return value.bytes


_WRITERS: dict[tuple[Any, Any], Convert] = {
    ("long", "timestamp-micros"): _micros,
    ("long", "timestamp-millis"): _millis,
    ("long", "local-timestamp-micros"): _local_micros,
    ("long", "local-timestamp-millis"): _local_millis,
    ("int", "date"): _days,
    ("long", "time-micros"): _time_micros,
    ("int", "time-millis"): _time_millis,
    ("long", TIMEDELTA): _timedelta_micros,
    ("string", "uuid"): _uuid,
    ("fixed", "uuid"): _uuid_bytes,
}
_PYTHON_TYPES: dict[Any, tuple[type, ...]] = {
    "timestamp-micros": (datetime,),
    "timestamp-millis": (datetime,),
    "local-timestamp-micros": (datetime,),
    "local-timestamp-millis": (datetime,),
    "date": (date,),
    "time-micros": (time,),
    "time-millis": (time,),
    "decimal": (Decimal,),
    "uuid": (UUID,),
    TIMEDELTA: (timedelta,),
    TUPLE: (tuple,),
}
