"""What one value of a configuration may be: a length of time, a reference, an address. Pure."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

LONGEST = 366 * 24 * 3600.0
"""Seconds; more is a mistake, and much more than a thread can wait for."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_MODULE = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_REFERENCE = re.compile(rf"{_MODULE}:{_MODULE}")


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


Seconds = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
"""A length of time: "500ms", "30s", "2m", "1h30m", or a number of seconds. Never negative."""
PositiveSeconds = Annotated[
    float, BeforeValidator(parse_duration), Field(gt=0, allow_inf_nan=False)
]
"""As `Seconds`, and more than zero."""
Whole = Annotated[int, BeforeValidator(_not_bool)]
"""A whole number; true and false are none."""
Reference = Annotated[str, AfterValidator(_reference)]
"""An object of the user's: "package.module:name"."""
ModuleName = Annotated[str, AfterValidator(_module)]
"""A module of the user's: "package.module"."""
InstanceId = Annotated[str, AfterValidator(_instance_id)]
"""What a group.instance.id can begin with."""
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
"""In any case of letters."""
Options = dict[str, Annotated[str, BeforeValidator(_option)]]
"""librdkafka properties by name."""


class Table(BaseModel):
    """What all tables have in common: nothing unknown, nothing changed later, no secret shown."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )
