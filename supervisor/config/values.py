"""What one value of a configuration may be: a length of time, a reference, an address. Pure."""

from __future__ import annotations

import builtins
import difflib
import math
import re
from datetime import date, datetime, time
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

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
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_MOST = {"offset": 2**63 - 1, "partition": 2**31 - 1}
_START = 'write "earliest", "latest", a time with its zone, an offset, or {0 = 100, 1 = 250}'
BUILTIN_ERRORS = {
    name: found
    for name, found in vars(builtins).items()
    if isinstance(found, type) and issubclass(found, Exception)
}
"""The built-in exceptions that a handler may raise and a loop may try again, by name."""

StartPosition = Literal["earliest", "latest"] | datetime | int | dict[int, int]


def parse_duration(value: object) -> object:
    """Seconds from "500ms", "30s", "2m", "1h30m" or a number of seconds."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _no_duration()
    if isinstance(value, int | float):
        return _seconds(value)
    text = value.replace(" ", "")
    if _DURATION.fullmatch(text):
        return _seconds(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
    try:
        return _seconds(float(text))
    except ValueError:
        return _no_duration()


def _seconds(number: float) -> float:
    """The same as a float. As an int it may be longer than any float, so it is compared first."""
    if LONGEST < number < math.inf:
        raise PydanticCustomError(
            "duration", "is too long", {"hint": "write 366 days (8784h) at most"}
        )
    return float(max(number, -1.0)) if number < 0 else float(number)


def _no_duration() -> object:
    raise PydanticCustomError(
        "duration", "is not a length of time", {"hint": 'write a number and a unit, as in "30s"'}
    )


def parse_size(value: object) -> int:
    """Bytes from "512MB", "1.5GiB" or a number of bytes. 1 MB has 1,000,000 bytes, 1 MiB 2**20.

    Raises:
        PydanticCustomError: It is no such thing.
    """
    if not isinstance(value, bool | str) and isinstance(value, int):
        value = str(value)
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        hint = 'write a number and a unit, as in "512MB"'
        raise PydanticCustomError("size", "is no amount of memory", {"hint": hint})
    number = float(found[1]) * _SIZES[(found[2] or "").upper()]
    if number > LARGEST:
        hint = 'write a number and a unit, as in "512MB"'
        raise PydanticCustomError("size", "is more memory than there is", {"hint": hint})
    return int(number)


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "should be a whole number, not true or false")
    return value


def is_reference(value: str) -> bool:
    """Whether it has the form "package.module:name"."""
    return _REFERENCE.fullmatch(value) is not None


def _reference(value: str) -> str:
    if not is_reference(value):
        raise PydanticCustomError(
            "reference",
            "names no object in a module",
            {"hint": 'write "package.module:name", with a colon before the object\'s name'},
        )
    return value


def _exception(value: str) -> str:
    if is_reference(value) or value in BUILTIN_ERRORS:
        return value
    found = getattr(builtins, value, None)
    if isinstance(found, type) and issubclass(found, BaseException):
        what, hint = "is no failure of a message: it ends the process", "remove it"
    else:
        close = difflib.get_close_matches(value, BUILTIN_ERRORS, n=1)
        what = "names no exception"
        hint = 'write "package.module:Class", or a built-in one such as "TimeoutError"'
        hint = f'did you mean "{close[0]}"?' if close else hint
    raise PydanticCustomError("exception", what, {"hint": hint})


def _topic(value: str) -> str:
    if not _TOPIC.fullmatch(value):
        raise PydanticCustomError(
            "topic",
            "is no name of a topic",
            {"hint": "write up to 249 letters, digits, dots, dashes and underscores"},
        )
    return value


def parse_start(value: object) -> StartPosition:
    """Where a group begins that has committed nothing.

    Takes what TOML gives, what variables make of it, and what JSON leaves of its own results:
    times and partition numbers as text.

    Raises:
        PydanticCustomError: It is no such thing.
    """
    if isinstance(value, str) and value not in {"earliest", "latest"}:
        value = _read(value)
    match value:
        case "earliest" | "latest":
            return value
        case datetime() if value.utcoffset() is not None:
            return value
        case date() | time():
            hint = "write date, time and zone, as in 2026-01-31T08:00:00Z"
            raise PydanticCustomError("start", "says no moment", {"hint": hint})
        case dict() if value:
            return {
                _number(partition, "partition"): _number(offset, "offset")
                for partition, offset in value.items()
            }
        case int() if not isinstance(value, bool):
            return _number(value, "offset")
        case _:
            raise PydanticCustomError("start", "is no place to start from", {"hint": _START})


def _read(text: str) -> object:
    """A number or a time in what may have been a variable."""
    if _NUMBER.fullmatch(text):
        return int(text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _number(value: object, kind: str) -> int:
    number = int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _MOST[kind]:
        return number
    raise PydanticCustomError(
        "start", "has what is no {kind}", {"kind": kind, "hint": "write whole numbers from 0 on"}
    )


def _module(value: str) -> str:
    if not re.fullmatch(_MODULE, value):
        raise PydanticCustomError(
            "module", "is not the name of a module", {"hint": 'write it as in "package.module"'}
        )
    return value


def _instance_id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,120}", value):
        raise PydanticCustomError(
            "instance_id",
            "cannot be part of a group.instance.id",
            {"hint": "write up to 120 letters, digits, dots, dashes and underscores"},
        )
    return value


def _host_name(value: str) -> str:
    name = value.lower().removesuffix(".")
    if not _HOST_NAME.fullmatch(name):
        raise PydanticCustomError(
            "host_name",
            "is no name of a host",
            {"hint": 'write names without port, ".example.org" for all below it, or "*" for all'},
        )
    return name


def _option(value: object) -> str:
    """A librdkafka value as text, which librdkafka takes for properties of every type."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise PydanticCustomError(
        "option",
        "is no value of a librdkafka property",
        {"hint": "write text, a number, true or false; properties with dots go in quotes"},
    )


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def parse_address(value: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[v6]:port".

    Raises:
        PydanticCustomError: It is neither.
    """
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if colon and host and port.isascii() and port.isdigit() and int(port) <= 65535:  # noqa: PLR2004 - TCP's own limit
        return host, int(port)
    raise PydanticCustomError(
        "address",
        "is no address to serve on",
        {"hint": 'write host and port, as in "127.0.0.1:9108"; "" serves nothing'},
    )


def _length(**bound: int) -> WithJsonSchema:
    """A length of time as it is written."""
    text = {"type": "string", "pattern": r"^ *(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h) *)+$"}
    return WithJsonSchema({"anyOf": [text, {"type": "number", **bound}]})


Seconds = Annotated[
    float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False), _length(minimum=0)
]
"""A length of time: "500ms", "30s", "2m", "1h30m", or a number of seconds. Never negative."""
PositiveSeconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(gt=0, allow_inf_nan=False),
    _length(exclusiveMinimum=0),
]
"""As `Seconds`, and more than zero."""
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": "^ *[0-9.]+ *[A-Za-z]* *$"},
                {"type": "integer", "minimum": 0},
            ]
        }
    ),
]
"""An amount of memory: "512MB", "1.5GiB", or a number of bytes. Never negative."""
Whole = Annotated[int, BeforeValidator(_not_bool)]
"""A whole number; true and false are none."""
Reference = Annotated[
    str,
    AfterValidator(_reference),
    WithJsonSchema({"type": "string", "pattern": r"^[^:\s]+:[^:\s]+$"}),
]
"""An object of the user's: "package.module:name"."""
ExceptionName = Annotated[str, AfterValidator(_exception)]
"""An exception class: "package.module:Class", or the name of a built-in one."""
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
"""As `parse_start` takes it."""
HostName = Annotated[str, AfterValidator(_host_name)]
"""A host's name, ".example.org" for all below it, or "*" for every name; in lower case."""
ModuleName = Annotated[str, AfterValidator(_module)]
"""A module of the user's: "package.module"."""
InstanceId = Annotated[str, AfterValidator(_instance_id)]
"""What a group.instance.id can begin with."""
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
"""In any case of letters."""
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
    """What all tables have in common: nothing unknown, nothing changed later, no secret shown."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )


def seconds(length: float) -> str:
    """A length of time as the file has it."""
    return f"{length:g}s" if length >= 1 or length == 0 else f"{length * 1000:g}ms"
