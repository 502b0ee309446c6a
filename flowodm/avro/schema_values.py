"""Check every value of a schema by type and range, before anything else looks at it. Pure.

A schema comes from a registry or a file, and its values reach C code, generated source and error
messages. fastavro checks some of them; ``size`` could be any text, for example. The walk keeps its
own stack, so a schema that nests thousands of levels deep is refused like any other.

Source of the rules: "Schema Declaration" in the Avro specification. The limits are this package's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from flowodm.avro.names import LEGAL_NAME
from flowodm.exceptions import SchemaValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MOST_LEVELS = 100
"""Levels of JSON objects and lists in a schema; a record in a record takes three or four."""
MOST_PARTS = 200_000
"""Values in a schema, inner ones and those of defaults included."""
MOST_BYTES = 16 * 1024 * 1024
"""Bytes of a ``fixed``; brokers take messages of 1 MB by default (``message.max.bytes``)."""
MOST_DIGITS = 10_000
"""Digits of a ``decimal``."""
_LONGEST_TEXT = 1_000_000
"""Characters of a name, a doc or a symbol."""
_SHOWN = 60
"""Characters of a wrong value that an error shows."""
_LONGEST_PLACE = 200
"""Characters of the place that an error shows."""
_SCHEMAS = frozenset({"fields", "items", "type", "values"})
"""The keys whose values are schemas, or hold some."""


def check_values(schema: Any, name: str) -> None:
    """Check the types and ranges of all values of a schema.

    Args:
        schema: Avro's JSON form as data, or whatever came in its place.
        name: What an error calls the schema.

    Raises:
        SchemaValidationError: A value is of the wrong type or out of range, or the schema nests
            too deeply or is too large. It says where.
    """
    parts = 0
    stack = [_Part(schema, "", 0, of_schema=True)]
    while stack:
        part = stack.pop()
        parts += 1
        problem = _too_much(part, parts)
        if problem is None and part.of_schema and isinstance(part.value, dict):
            problem = _problem(part.value)
        if problem is not None:
            where = f" at {part.place[:_LONGEST_PLACE]}" if part.place else ""
            raise SchemaValidationError(f"{name} is not a valid Avro schema: {problem}{where}")
        stack += part.inner()


class _Part(NamedTuple):
    """A value of a schema.

    Attributes:
        value: JSON as data.
        place: Where it is, such as ``fields[0].type``.
        level: How many objects and lists are around it.
        of_schema: Whether it describes types; not so a default, or an attribute that Avro does
            not know.
    """

    value: Any
    place: str
    level: int
    of_schema: bool

    def inner(self) -> Iterator[_Part]:
        """Yield the values directly inside."""
        if isinstance(self.value, list):
            for number, item in enumerate(self.value):
                yield _Part(item, f"{self.place}[{number}]", self.level + 1, self.of_schema)
        elif isinstance(self.value, dict):
            for key, value in self.value.items():
                of_schema = self.of_schema and key in _SCHEMAS
                yield _Part(value, _joined(self.place, key), self.level + 1, of_schema)


def _joined(place: str, key: object) -> str:
    shown = key if isinstance(key, str) and key.isidentifier() else ascii(key)[:_SHOWN]
    return f"{place}.{shown}" if place else str(shown)


def _too_much(part: _Part, parts: int) -> str | None:
    if part.level > MOST_LEVELS:
        return f"more than {MOST_LEVELS} levels inside each other"
    if parts > MOST_PARTS:
        return f"more than {MOST_PARTS:,} values"
    if isinstance(part.value, str) and len(part.value) > _LONGEST_TEXT:
        return f"a text of more than {_LONGEST_TEXT:,} characters"
    return None


def _problem(part: Mapping[Any, Any]) -> str | None:
    """Return what is wrong with a JSON object's own values; None if nothing is."""
    for key, value in part.items():
        if not isinstance(key, str):
            return f"the key {ascii(key)[:_SHOWN]} is not text"
        check = _CHECKS.get(key)
        if check is None:
            continue
        expected = check(value, part)
        if expected is not None:
            return f"{key} must be {expected}, got {ascii(value)[:_SHOWN]}"
    return None


def _text(value: Any, _part: Mapping[Any, Any]) -> str | None:
    return None if isinstance(value, str) else "text"


def _texts(value: Any, _part: Mapping[Any, Any]) -> str | None:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return None
    return "a list of text"


def _symbols(value: Any, part: Mapping[Any, Any]) -> str | None:
    if part.get("type") != "enum":
        return None
    if not isinstance(value, list) or not value:
        return "a list of names"
    if not all(isinstance(symbol, str) and LEGAL_NAME.fullmatch(symbol) for symbol in value):
        return "a list of names"
    return None if len(set(value)) == len(value) else "a list of different names"


def _size(value: Any, part: Mapping[Any, Any]) -> str | None:
    if part.get("type") != "fixed":
        return None
    return _whole(value, 0, MOST_BYTES)


def _precision(value: Any, part: Mapping[Any, Any]) -> str | None:
    return _whole(value, 1, MOST_DIGITS) if part.get("logicalType") == "decimal" else None


def _scale(value: Any, part: Mapping[Any, Any]) -> str | None:
    return _whole(value, 0, MOST_DIGITS) if part.get("logicalType") == "decimal" else None


def _whole(value: Any, least: int, most: int) -> str | None:
    if type(value) is int and least <= value <= most:
        return None
    return f"an integer from {least} to {most}"


def _fields(value: Any, part: Mapping[Any, Any]) -> str | None:
    if part.get("type") != "record" and part.get("type") != "error":
        return None
    if isinstance(value, list) and all(isinstance(field, dict) for field in value):
        return None
    return "a list of fields"


def _schema(value: Any, _part: Mapping[Any, Any]) -> str | None:
    return None if isinstance(value, str | list | dict) else "a schema"


_CHECKS: dict[str, Callable[[Any, Mapping[Any, Any]], str | None]] = {
    "aliases": _texts,
    "fields": _fields,
    "logicalType": _text,
    "name": _text,
    "precision": _precision,
    "scale": _scale,
    "size": _size,
    "symbols": _symbols,
    "type": _schema,
}
"""What the value of each key has to be; each returns the words for it, or None if it is that."""
