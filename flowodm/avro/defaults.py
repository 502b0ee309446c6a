"""Express a field's default in Avro's JSON. Pure.

The encoding is the specification's table of field default values: bytes as the code points of
a string, logical types as their underlying number, a union by its first branch.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from flowodm.avro.logical_types import logical_writer
from flowodm.avro.names import symbol_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LONG = 2**63
_ABSENT = object()


class NoAvroDefaultError(Exception):
    """A value cannot be a default in the schema. This is not an error of the model."""


def json_default(schema: Any, value: Any, definitions: Mapping[str, Any]) -> Any:
    """Express a Python value as the default of a field with this schema.

    Args:
        schema: The field's type, as in the published schema.
        value: The field's default in Pydantic.
        definitions: Every named type defined so far, by full name.

    Raises:
        NoAvroDefaultError: The value does not fit the type, its first branch, or JSON.
    """
    if isinstance(schema, list):
        return json_default(schema[0], value, definitions)
    if isinstance(schema, str):
        schema = definitions.get(schema, {"type": schema})
    kind = schema["type"]
    if kind in _NESTED:
        return _NESTED[kind](schema, value, definitions)
    if "logicalType" in schema:
        return _logical(schema, value)
    return _primitive(kind, value.value if isinstance(value, Enum) else value)


def _record(schema: Any, value: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    fields = schema["fields"]
    if isinstance(value, tuple) and len(value) == len(fields):
        return {
            field["name"]: json_default(field["type"], item, definitions)
            for field, item in zip(fields, value, strict=True)
        }
    if not isinstance(value, BaseModel):
        raise NoAvroDefaultError
    return {
        field["name"]: json_default(
            field["type"], getattr(value, field["name"], _ABSENT), definitions
        )
        for field in fields
    }


def _array(schema: Any, value: Any, definitions: Mapping[str, Any]) -> list[Any]:
    if not isinstance(value, list | tuple | set | frozenset):
        raise NoAvroDefaultError
    return [json_default(schema["items"], item, definitions) for item in value]


def _map(schema: Any, value: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NoAvroDefaultError
    return {key: json_default(schema["values"], item, definitions) for key, item in value.items()}


def _enum(schema: Any, value: Any, _definitions: Mapping[str, Any]) -> str:
    symbol = symbol_of(value) if isinstance(value, Enum) else value
    if symbol not in schema["symbols"]:
        raise NoAvroDefaultError
    return str(symbol)


_NESTED: dict[str, Callable[[Any, Any, Mapping[str, Any]], Any]] = {
    "record": _record,
    "array": _array,
    "map": _map,
    "enum": _enum,
}


def _logical(schema: Any, value: Any) -> Any:
    writer = logical_writer(schema)
    try:
        written = writer(value) if writer else None
    except (TypeError, AttributeError, ValueError, OverflowError):
        raise NoAvroDefaultError from None
    if written is None:
        raise NoAvroDefaultError
    return written.decode("latin-1") if isinstance(written, bytes) else written


def _primitive(kind: str, value: Any) -> Any:
    match kind, value:
        case ("null", None) | ("boolean", bool()):
            return value
        case "long", int() if not isinstance(value, bool) and -_LONG <= value < _LONG:
            return int(value)
        case "double", int() | float() if not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        case "string", str():
            return str(value)
        case "bytes", bytes():
            return value.decode("latin-1")
        case _:
            raise NoAvroDefaultError
