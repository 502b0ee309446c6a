"""Write a field's default, which is in Avro's JSON, as a Python expression. Pure.

``flowodm/avro/defaults.py`` does the opposite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from flowodm.avro.logical_types import TUPLE
from flowodm.avro.parsing import kind_of, logical_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_DATE = 3
"""The parts of a datetime that cannot be left out."""


def _is_int(value: Any, bits: int) -> bool:
    limit = 2 ** (bits - 1)
    return type(value) is int and -limit <= value < limit


_FITS: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "int": lambda value: _is_int(value, 32),
    "long": lambda value: _is_int(value, 64),
    "float": lambda value: type(value) in {int, float},
    "double": lambda value: type(value) in {int, float},
    "string": lambda value: isinstance(value, str),
    "bytes": lambda value: isinstance(value, str),
    "fixed": lambda value: isinstance(value, str),
}


class NoDefaultError(Exception):
    """The value is not of the field's type."""


@dataclass(frozen=True, slots=True)
class Expression:
    """Python source of a value.

    Attributes:
        text: The source.
        fresh: Whether every message needs a value of its own.
    """

    text: str
    fresh: bool = False


class ModuleNames(Protocol):
    """The names that an expression may use; each method returns the name to write."""

    def use(self, module: str, name: str) -> str:
        """Import a name."""

    def class_of(self, schema: Mapping[str, Any]) -> str:
        """Return the class of a record or an enum."""

    def member_of(self, schema: Mapping[str, Any], symbol: str) -> str:
        """Return the enum's member of a symbol, without its class."""

    def definition(self, schema: Any) -> Any:
        """Return the schema that a name stands for, or the schema itself."""


def expression(schema: Any, value: Any, names: ModuleNames) -> Expression:
    """Return the source of the default ``value`` of a field with this schema.

    A union's default may be of any of its branches, as in Avro 1.12; 1.11 requires the first.

    Raises:
        NoDefaultError: The value is not of this type.
    """
    schema = names.definition(schema)
    if isinstance(schema, list):
        return _first_fitting(schema, value, names)
    kind = kind_of(schema)
    match kind:
        case "record" | "error":
            return _record(schema, value, names)
        case "array":
            return _array(schema, value, names)
        case "map":
            return _map(schema, value, names)
        case "enum":
            return _enum(schema, value, names)
        case _:
            return _unnested(kind, schema, value, names=names)


def _unnested(kind: str, schema: Any, value: Any, names: ModuleNames) -> Expression:
    logical = logical_of(schema)
    plain = _plain(kind, value)
    if logical is not None:
        return Expression(_logical(logical, schema, plain, names=names))
    return Expression(_shown(plain, names))


def _first_fitting(branches: list[Any], value: Any, names: ModuleNames) -> Expression:
    for branch in branches:
        try:
            return expression(branch, value, names)
        except NoDefaultError:
            continue
    raise NoDefaultError


def _record(schema: Any, value: Any, names: ModuleNames) -> Expression:
    if not isinstance(value, dict):
        raise NoDefaultError
    if logical_of(schema) == TUPLE:
        return _tuple(schema, value, names)
    parts = []
    for field in schema["fields"]:
        if field["name"] in value:
            shown = expression(field["type"], value[field["name"]], names).text
            parts.append(f"{quoted(field['name'])}: {shown}")
        elif "default" not in field:
            raise NoDefaultError
    inner = "{" + ", ".join(parts) + "}"
    return Expression(f"{names.class_of(schema)}.model_validate({inner})", fresh=True)


def _tuple(schema: Any, value: dict[str, Any], names: ModuleNames) -> Expression:
    if value.keys() != {field["name"] for field in schema["fields"]}:
        raise NoDefaultError
    items = [expression(field["type"], value[field["name"]], names) for field in schema["fields"]]
    text = ", ".join(item.text for item in items) + ("," if len(items) == 1 else "")
    return Expression(f"({text})", any(item.fresh for item in items))


def _array(schema: Any, value: Any, names: ModuleNames) -> Expression:
    if not isinstance(value, list):
        raise NoDefaultError
    items = [expression(schema["items"], item, names) for item in value]
    text = ", ".join(item.text for item in items)
    return Expression(f"[{text}]", any(item.fresh for item in items))


def _map(schema: Any, value: Any, names: ModuleNames) -> Expression:
    if not isinstance(value, dict):
        raise NoDefaultError
    items = {key: expression(schema["values"], item, names) for key, item in value.items()}
    text = ", ".join(f"{quoted(key)}: {item.text}" for key, item in items.items())
    return Expression("{" + text + "}", any(item.fresh for item in items.values()))


def _enum(schema: Any, value: Any, names: ModuleNames) -> Expression:
    if value not in schema["symbols"]:
        raise NoDefaultError
    return Expression(f"{names.class_of(schema)}.{names.member_of(schema, value)}")


def _plain(kind: str, value: Any) -> Any:
    """Return the value without its logical type: bytes come from a string's code points."""
    if not _FITS[kind](value):
        raise NoDefaultError
    if kind in {"float", "double"}:
        return float(value)
    return _latin(value) if kind in {"bytes", "fixed"} else value


def _latin(value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        raise NoDefaultError from None


def _shown(value: Any, names: ModuleNames) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f'{names.use("builtins", "float")}("{value}")'
    return quoted(value) if isinstance(value, str | bytes) else repr(value)


def quoted(value: str | bytes) -> str:
    """Return a literal, in double quotes if that needs no more escapes."""
    shown = ascii(value)
    start = shown.index("'") if "'" in shown[:2] else -1
    if start < 0 or '"' in shown:
        return shown
    return f'{shown[:start]}"{shown[start + 1 : -1]}"'


def _logical(logical: str, schema: Any, value: Any, names: ModuleNames) -> str:
    try:
        match logical:
            case "date":
                day = date.fromordinal(_EPOCH.toordinal() + value)
                return f"{names.use('datetime', 'date')}({day.year}, {day.month}, {day.day})"
            case "time-millis" | "time-micros":
                return _time(value * (1_000 if logical == "time-millis" else 1), names)
            case "decimal":
                number = int.from_bytes(value, signed=True)
                digits = tuple(map(int, str(abs(number))))
                exact = Decimal((int(number < 0), digits, -schema.get("scale", 0)))
                return f'{names.use("decimal", "Decimal")}("{exact}")'
            case "uuid":
                uuid = UUID(bytes=value) if isinstance(value, bytes) else UUID(value)
                return f'{names.use("uuid", "UUID")}("{uuid}")'
            case "timedelta-micros":
                return f"{names.use('datetime', 'timedelta')}(microseconds={value})"
            case _:
                return _instant(logical, value, names)
    except (ValueError, OverflowError):
        raise NoDefaultError from None


def _time(micros: int, names: ModuleNames) -> str:
    since_midnight = timedelta(microseconds=micros)
    if not timedelta(0) <= since_midnight < _DAY:
        raise NoDefaultError
    at = (_EPOCH + since_midnight).time()
    name = names.use("datetime", "time")
    return f"{name}({at.hour}, {at.minute}, {at.second}, {at.microsecond})"


def _instant(logical: str, value: Any, names: ModuleNames) -> str:
    local = logical.startswith("local-")
    micros = value * (1_000 if logical.endswith("-millis") else 1)
    at = _EPOCH + timedelta(microseconds=micros)
    parts = [at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond]
    while len(parts) > _DATE and parts[-1] == 0:
        parts.pop()
    shown = ", ".join(map(str, parts))
    zone = "" if local else f", tzinfo={names.use('datetime', 'UTC')}"
    return f"{names.use('datetime', 'datetime')}({shown}{zone})"
