"""Types of single values: lengths of time, amounts of memory, references, addresses. Pure."""

from __future__ import annotations

import builtins
import difflib
import math
import re
from datetime import date, datetime, time
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

LENGTH_OF_TIME = "A length of time such as 500ms, 30s or 1m30s, or a number of seconds."
"""How `Seconds` are written."""
AMOUNT_OF_MEMORY = "An amount of memory such as 512MB or 1.5GiB, or a number of bytes."
"""How a `Size` is written."""
REFERENCE_FORM = 'Written as "package.module:name".'
"""How a `Reference` is written."""
LONGEST = 366 * 24 * 3600.0
"""Seconds; more is a mistake, and much more than a thread can wait for."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?((?:[KMGT]I?)?B)?", re.IGNORECASE | re.ASCII)
LARGEST = 2**50
"""Bytes; more is a mistake."""
_MODULE = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_REFERENCE = re.compile(rf"{_MODULE}:{_MODULE}")
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
"""Kafka's own rule: `Topic.validate` of its clients."""
_HOST_NAME = re.compile(r"\*|\.?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_INTEGER = re.compile(r"0|[1-9][0-9]{0,18}")
_LARGEST_OFFSET = 2**63 - 1
_LARGEST_PARTITION = 2**31 - 1
BUILTIN_ERRORS = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, Exception)
}
"""The built-in exceptions that a handler may raise and a loop may retry, by name."""

StartPosition = Literal["earliest", "latest"] | datetime | int | dict[int, int]
"""Where a group begins that has committed nothing; a dict has offsets by partition."""

START_PARTITION = "start_partition"
"""Kind of the error that names a partition of a start position."""
START_OFFSET = "start_offset"
"""Kind of the error that names the partition of a wrong offset."""


def _error(kind: str, message: str, hint: str, **context: Any) -> PydanticCustomError:
    """Make a validation error; the hint says what to write instead."""
    return PydanticCustomError(kind, message, {"hint": hint, **context})


def parse_duration(value: object) -> object:
    """Convert "500ms", "30s", "2m", "1h30m" or a number of seconds to seconds.

    Raises:
        PydanticCustomError: It is not a length of time, or longer than `LONGEST`.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _no_duration()
    if isinstance(value, int | float):
        return _seconds(value)
    text = value.replace(" ", "")
    if _DURATION.fullmatch(text):
        return _seconds(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
    try:
        return _seconds(float(text))
    except ValueError:
        raise _no_duration() from None


def _seconds(number: float) -> float:
    """Convert to float. As an int it may exceed every float, so it is compared first."""
    if LONGEST < number < math.inf:
        raise _error("duration", "is too long", "write 366 days (8784h) at most")
    return float(max(number, -1.0)) if number < 0 else float(number)


def _no_duration() -> PydanticCustomError:
    return _error("duration", "is not a length of time", 'write a number and a unit, as in "30s"')


# Not pydantic.ByteSize: that takes true, "1MB junk" and "10 MB/s" and has no upper bound, and
# its error says neither what is wrong nor what to write.
def parse_size(value: object) -> int:
    """Convert "512MB", "1.5GiB" or a number of bytes to bytes. 1 MB is 10**6, 1 MiB 2**20 bytes.

    Raises:
        PydanticCustomError: It is not an amount of memory, or more than `LARGEST`.
    """
    hint = 'write a number and a unit, as in "512MB"'
    if not isinstance(value, bool | str) and isinstance(value, int):
        value = str(value)
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise _error("size", "is not an amount of memory", hint)
    number = float(match[1]) * _SIZES[(match[2] or "").upper()]
    if number > LARGEST:
        raise _error("size", "is too much memory", "write 1024TiB at most")
    return int(number)


def _not_bool(value: object) -> object:
    """Reject true and false, which Python takes for integers."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "must be an integer")
    return value


def is_reference(value: str) -> bool:
    """Return whether it has the form "package.module:name"."""
    return _REFERENCE.fullmatch(value) is not None


def _reference(value: str) -> str:
    if not is_reference(value):
        hint = 'write "package.module:name", with a colon before the name of the object'
        raise _error("reference", "is not a reference to an object in a module", hint)
    return value


def _exception(value: str) -> str:
    if is_reference(value) or value in BUILTIN_ERRORS:
        return value
    builtin = getattr(builtins, value, None)
    if isinstance(builtin, type) and issubclass(builtin, BaseException):
        raise _error("exception", "ends the process and cannot be retried", "remove it")
    close = difflib.get_close_matches(value, BUILTIN_ERRORS, n=1)
    if close:
        hint = f'did you mean "{close[0]}"?'
    else:
        hint = 'write "package.module:Class", or a built-in exception such as "TimeoutError"'
    raise _error("exception", "is not an exception class", hint)


def _tracing(value: object, parse: ValidatorFunctionWrapHandler) -> object:
    """Report one problem, where Pydantic reports one for each type that the value is not."""
    try:
        return parse(value)
    except ValidationError:
        hint = 'write true, false, or "package.module:name" of a Tracing'
        raise _error("tracing", "is not true, false or a reference", hint) from None


def _topic(value: str) -> str:
    if not _TOPIC.fullmatch(value):
        hint = "write up to 249 letters, digits, dots, dashes and underscores"
        raise _error("topic", "is not a topic name", hint)
    return value


def parse_start(value: object) -> StartPosition:
    """Convert a start position from TOML, from a variable's text, or from JSON of its own result.

    JSON has timestamps and partition numbers as text.

    Raises:
        PydanticCustomError: It is not a start position.
    """
    if isinstance(value, str) and value not in {"earliest", "latest"}:
        value = _integer_or_timestamp(value)
    match value:
        case "earliest" | "latest":
            return value
        case datetime() if value.utcoffset() is not None:
            return value
        case date() | time():
            hint = "give date, time and time zone, as in 2026-01-31T08:00:00Z"
            raise _error("start", "is not a timestamp", hint)
        case dict() if value:
            return _offsets(value)
        case int() if not isinstance(value, bool):
            if not 0 <= value <= _LARGEST_OFFSET:
                raise _error("start", "is not an offset", "write an integer, 0 or more")
            return value
        case _:
            hint = (
                'write "earliest", "latest", a timestamp with time zone, an offset, or offsets by '
                "partition as in {0 = 100, 1 = 250}"
            )
            raise _error("start", "is not a start position", hint)


def _integer_or_timestamp(text: str) -> object:
    """Read what may have been a variable; None if it is neither."""
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _offsets(table: dict[object, object]) -> dict[int, int]:
    """Convert a table of offsets by partition."""
    offsets = {}
    for key, value in table.items():
        partition = _integer(key, _LARGEST_PARTITION)
        if partition is None:
            hint = "write numbers of partitions as keys, as in {0 = 100, 1 = 250}"
            message = "'{key}' is not a partition number"
            raise _error(START_PARTITION, message, hint, key=str(key))
        offset = _integer(value, _LARGEST_OFFSET)
        if offset is None:
            message = "the offset of partition {partition} must be an integer, 0 or more"
            hint = "write offsets as in {0 = 100, 1 = 250}"
            raise _error(START_OFFSET, message, hint, partition=partition)
        offsets[partition] = offset
    return offsets


def _integer(value: object, largest: int) -> int | None:
    """Convert an integer or its text; None if it is neither or out of range."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= largest else None


def _module(value: str) -> str:
    if not re.fullmatch(_MODULE, value):
        raise _error("module", "is not a module name", 'write it as in "package.module"')
    return value


def _instance_id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,120}", value):
        hint = "write up to 120 letters, digits, dots, dashes and underscores"
        raise _error("instance_id", "cannot be part of a group.instance.id", hint)
    return value


def _host_name(value: str) -> str:
    name = value.lower().removesuffix(".")
    if not _HOST_NAME.fullmatch(name):
        hint = 'write names without port, ".example.org" for all below it, or "*" for all'
        raise _error("host_name", "is not a host name", hint)
    return name


def _option(value: object) -> str:
    """Convert a librdkafka value to text, which librdkafka takes for properties of every type."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    hint = "write text, a number, true or false; put names with dots in quotes"
    raise _error("option", "is not a value of a librdkafka property", hint)


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def parse_address(value: str) -> tuple[str, int]:
    """Split "host:port" or "[v6]:port" into host and port.

    Raises:
        PydanticCustomError: It is neither.
    """
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if colon and host and port.isascii() and port.isdigit() and int(port) <= 65535:  # noqa: PLR2004 - TCP's own limit
        return host, int(port)
    hint = 'write host and port, as in "127.0.0.1:9108", or "" to serve nothing'
    raise _error("address", "is not an address", hint)


def _length(**bound: int) -> WithJsonSchema:
    """Describe how a length of time is written, in JSON Schema with its unit."""
    text = {"type": "string", "pattern": r"^ *(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h) *)+$"}
    return WithJsonSchema({"anyOf": [text, {"type": "number", **bound}], "unit": LENGTH_OF_TIME})


Seconds = Annotated[
    float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False), _length(minimum=0)
]
"""A length of time as `parse_duration` takes it; never negative."""
PositiveSeconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(gt=0, allow_inf_nan=False),
    _length(exclusiveMinimum=0),
]
"""As `Seconds`, but more than zero."""
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": "^ *[0-9.]+ *[A-Za-z]* *$"},
                {"type": "integer", "minimum": 0},
            ],
            "unit": AMOUNT_OF_MEMORY,
        }
    ),
]
"""An amount of memory as `parse_size` takes it; never negative."""
Whole = Annotated[int, BeforeValidator(_not_bool)]
"""An integer; true and false are none."""
Reference = Annotated[
    str,
    AfterValidator(_reference),
    WithJsonSchema({"type": "string", "pattern": r"^[^:\s]+:[^:\s]+$", "unit": REFERENCE_FORM}),
]
"""An object of the user's code: "package.module:name"."""
ExceptionName = Annotated[str, AfterValidator(_exception)]
"""An exception class: "package.module:Class", or the name of a built-in one."""
TracingChoice = Annotated[bool | Reference, WrapValidator(_tracing)]
"""Whether to trace, or the user's Tracing."""
TopicName = Annotated[str, AfterValidator(_topic)]
StartFrom = Annotated[
    StartPosition,
    BeforeValidator(parse_start),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["earliest", "latest"]},
                {"type": "string", "format": "date-time", "pattern": "^[0-9]{4}-"},
                {"type": "integer", "minimum": 0},
                {
                    "type": "object",
                    "propertyNames": {"pattern": "^[0-9]+$"},
                    "additionalProperties": {"type": "integer", "minimum": 0},
                },
            ]
        }
    ),
]
"""A start position as `parse_start` takes it."""
HostName = Annotated[str, AfterValidator(_host_name)]
"""A host name, ".example.org" for all below it, or "*" for every name; in lower case."""
ModuleName = Annotated[str, AfterValidator(_module)]
"""A module of the user's code: "package.module"."""
InstanceId = Annotated[str, AfterValidator(_instance_id)]
"""Text that a group.instance.id can begin with."""
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
"""A level in upper or lower case."""
Options = dict[
    str,
    Annotated[
        str,
        BeforeValidator(_option),
        WithJsonSchema({"type": ["string", "number", "boolean"]}),
    ],
]
"""librdkafka properties by name."""


class Table(BaseModel):
    """Base of all tables: no unknown keys, no changes later, no secret in an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )


def seconds(length: float) -> str:
    """Write a length of time as the file has it."""
    return f"{length:g}s" if length >= 1 or length == 0 else f"{length * 1000:g}ms"
