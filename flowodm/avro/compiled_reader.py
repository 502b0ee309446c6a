"""Write a reader for one schema as Python source, and compile it. Pure.

fastavro looks up each field in the schema for each record, and asks a file object for every few
bytes. Straight-line code over the bytes themselves takes half the time, including timestamps,
since almost everything can be decided when the schema is known.

A compiled reader never refuses a record. If anything is unusual (a length below zero, bytes that
are missing or left over, invalid UTF-8), fastavro reads the record again and decides.
"""

from __future__ import annotations

import struct
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flowodm.avro.build_hooks import BUILD, MARK
from flowodm.avro.generated_source import READER, checked
from flowodm.avro.logical_types import EPOCH, EXACT, LOCAL_EPOCH, MICROSECOND, decimal_of

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_LINES = 2_000
"""The most lines of a reader. The lines of a type are repeated in each place that uses it."""

_MOST_LEVELS = 8
"""The most loops and branches inside each other; Python itself allows 20 nested loops."""

_LAST_SHIFT = 63
_EPOCH_DAY = EPOCH.toordinal()

_NUMBER = ("n = data[i]", "i += 1", "if n > 127:", "    n, i = longer(data, i, n)")
"""Read a variable-length integer: seven bits a byte, lowest first, the last byte below 128.

Lengths, counts and small numbers take one byte.
"""

_ONE_BYTE = 64
"""The branches of a union whose index always takes one byte."""
_SIGNED = "(n >> 1) ^ -(n & 1)"
_LENGTH = (*_NUMBER, "if n & 1:", "    raise ValueError", "e = i + (n >> 1)")
_INSTANT = (
    'n = from_bytes(data[i:i+8], "little")',
    "if n & 0x8080808080808080 == 0x0080808080808080:",
    "    i += 8",
    "    n = (n & 0x007F007F007F007F) | ((n & 0x7F007F007F007F00) >> 1)",
    "    n = (n & 0x00003FFF00003FFF) | ((n & 0x3FFF00003FFF0000) >> 2)",
    "    n = (n & 0x000000000FFFFFFF) | ((n & 0x0FFFFFFF00000000) >> 4)",
    "else:",
    *(f"    {line}" for line in _NUMBER),
)
"""Read a timestamp in microseconds.

From 1978 to 3111 it takes eight bytes, whose groups of seven bits are joined in three steps,
pairs first. Any other number is read byte by byte.
"""

_PLAIN: dict[Any, tuple[tuple[str, ...], str]] = {
    "null": ((), "None"),
    "boolean": (("n = data[i]", "i += 1", "if n > 1:", "    raise ValueError"), "n == 1"),
    "int": (_NUMBER, _SIGNED),
    "long": (_NUMBER, _SIGNED),
    "float": (("i += 4",), "float_at(data, i - 4)[0]"),
    "double": (("i += 8",), "double_at(data, i - 8)[0]"),
    "string": ((*_LENGTH, "s = data[i:e]", "i = e"), "s.decode()"),
    "bytes": ((*_LENGTH, "s = data[i:e]", "i = e"), "s"),
}
_MARKED: dict[Any, tuple[tuple[str, ...], str]] = {
    ("long", "timestamp-micros"): (_INSTANT, f"EPOCH + ({_SIGNED}) * MICROSECOND"),
    ("long", "timestamp-millis"): (_NUMBER, f"EPOCH + ({_SIGNED}) * MILLISECOND"),
    ("long", "local-timestamp-micros"): (_INSTANT, f"LOCAL_EPOCH + ({_SIGNED}) * MICROSECOND"),
    ("int", "date"): (_NUMBER, f"day_of(({_SIGNED}) + {_EPOCH_DAY})"),
    ("long", "local-timestamp-millis"): (_NUMBER, f"LOCAL_EPOCH + ({_SIGNED}) * MILLISECOND"),
    ("long", "time-micros"): (_NUMBER, f"time_of({_SIGNED})"),
    ("int", "time-millis"): (_NUMBER, f"time_of(({_SIGNED}) * 1000)"),
    ("long", MARK): (_NUMBER, f"({_SIGNED}) * MICROSECOND"),
    ("string", "uuid"): (_PLAIN["string"][0], "UUID(s.decode())"),
}
_FUNCTION = """
def read(data):
    try:
        i = {start}
{body}
        if i != len(data):
            raise ValueError
    except odd:
        return otherwise(data)
    return validate({values}, strict=False, by_alias={by_alias}, by_name=True)
"""


class _NotCompilableError(Exception):
    """A schema that fastavro reads better."""


def compile_reader(
    schema: Any,
    start: int,
    dropped: tuple[str, ...],
    validate: Callable[..., Any],
    otherwise: Callable[[bytes], Any],
    *,
    by_alias: bool,
) -> Callable[[bytes], Any]:
    """Return a function that turns a record's bytes into a message.

    Args:
        schema: The writer's schema, with full names and the marks of
            :func:`~flowodm.avro.build_hooks.for_reading`.
        start: The first byte of the record's body.
        dropped: The fields to leave out.
        validate: The model's validate_python; called with the values of the other fields.
        otherwise: Reads a record that the function does not read, or raises. It is returned
            itself if the schema is recursive, very large, or has types that are unknown here.
        by_alias: Whether fields may have the names of their Pydantic aliases.
    """
    source = _Source()
    try:
        values = source.record(schema, 0, frozenset(dropped))
    except _NotCompilableError:
        return otherwise
    text = _FUNCTION.format(
        start=start,
        body="\n".join(f"        {line}" for line in source.lines),
        values=values,
        by_alias=by_alias,
    )
    names = {**_NAMES, **source.names, "validate": validate, "otherwise": otherwise}
    tree = checked(text, READER, schema["name"])
    # The only words of the schema in the text are its fields' names, as literals.
    exec(compile(tree, f"<reader of {schema['name']}>", "exec"), names)  # noqa: S102 - see above
    read: Callable[[bytes], Any] = names["read"]
    return read


class _Source:
    """The lines that read one record from ``data`` at ``i``, and the objects that they name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}
        self._open: list[str] = []
        self._alternatives = 0
        self._definitions: dict[str, Any] = {}
        self._variables = 0

    def record(self, schema: Any, level: int, dropped: frozenset[str] = frozenset()) -> str:
        """Write the lines of a record; return the expression of its values."""
        self._open.append(schema["name"])
        kept = []
        for field in schema["fields"]:
            value = self._value(field["type"], level)
            if field["name"] not in dropped:
                kept.append(f"{field['name']!r}: {value}")
        self._open.pop()
        return "{" + ", ".join(kept) + "}"

    def _value(self, schema: Any, level: int) -> str:
        """Write the lines of one value; return the variable that holds it."""
        variable = f"v{self._variables}"
        self._variables += 1
        if len(self.lines) > _MOST_LINES or level > _MOST_LEVELS:
            raise _NotCompilableError
        if isinstance(schema, list):
            self._union(schema, variable, level)
            return variable
        if isinstance(schema, str) and schema not in _PLAIN:
            schema = self._definitions.get(schema)
        if isinstance(schema, dict) and "name" in schema:
            if schema["name"] in self._open:
                raise _NotCompilableError
            self._definitions[schema["name"]] = schema
        self._single(schema, variable, level)
        return variable

    def _single(self, schema: Any, variable: str, level: int) -> None:
        """Write the lines of a value that is not a union."""
        details = schema if isinstance(schema, dict) else {"type": schema}
        kind, mark = details["type"], details.get("logicalType")
        match kind:
            case "record" | "enum":
                self._built(details, variable, level)
            case "array":
                self._blocks(details["items"], variable, level, is_map=False)
            case "map":
                self._blocks(details["values"], variable, level, is_map=True)
            case "bytes" if mark == MARK:
                number = f"decimal_of(s, {self._named('decimal', details)})"
                self._add(level, *_PLAIN["bytes"][0], f"{variable} = {number}")
            case _:
                self._scalar(self._template(kind, mark), variable, level)

    def _built(self, schema: dict[str, Any], variable: str, level: int) -> None:
        """Write the lines of a record or an enum, which may become an object of its class."""
        build = schema.get(BUILD)
        if build is None and "logicalType" in schema:
            raise _NotCompilableError
        if schema["type"] == "record":
            value = self.record(schema, level)
        else:
            symbols = self._named("symbols", tuple(schema["symbols"]))
            self._add(level, *_NUMBER, "if n & 1:", "    raise ValueError")
            value = f"{symbols}[n >> 1]"
        if build is not None:
            value = f"{self._named('build', build)}({value})"
        self._add(level, f"{variable} = {value}")

    def _template(self, kind: Any, mark: Any) -> tuple[tuple[str, ...], str] | None:
        """Return the lines and the expression of a type; None if it is not known here."""
        # Pydantic makes a UUID faster, but cannot do so where the value may be of another type.
        is_plain = mark in {None, EXACT} or (mark == "uuid" and not self._alternatives)
        return _PLAIN.get(kind) if is_plain else _MARKED.get((kind, mark))

    def _scalar(
        self, template: tuple[tuple[str, ...], str] | None, variable: str, level: int
    ) -> None:
        if template is None:
            raise _NotCompilableError
        lines, value = template
        self._add(level, *lines, f"{variable} = {value}")

    def _union(self, branches: list[Any], variable: str, level: int) -> None:
        several = sum(branch != "null" for branch in branches) > 1
        self._alternatives += several
        # The index is a number like any other: from 64 branches on it takes two bytes.
        if len(branches) > _ONE_BYTE:
            self._add(level, *_NUMBER)
        else:
            self._add(level, "n = data[i]", "i += 1")
        for index, branch in enumerate(branches):
            self._add(level, f"{'elif' if index else 'if'} n == {index * 2}:")
            value = self._value(branch, level + 1)
            self._add(level + 1, f"{variable} = {value}")
        self._add(level, "else:", "    raise ValueError")
        self._alternatives -= several

    def _blocks(self, inner: Any, variable: str, level: int, *, is_map: bool) -> None:
        self._add(level, f"{variable} = {'{}' if is_map else '[]'}", "while True:")
        self._add(level + 1, *_NUMBER, "if n == 0:", "    break")
        # A count below zero: the length in bytes follows, for readers that skip the block.
        self._add(level + 1, "if n & 1:", "    raise ValueError", "for _ in range(n >> 1):")
        if is_map:
            key = self._value("string", level + 2)
            self._add(level + 2, f"{variable}[{key}] = {self._value(inner, level + 2)}")
        else:
            self._add(level + 2, f"{variable}.append({self._value(inner, level + 2)})")

    def _named(self, word: str, thing: Any) -> str:
        """Give an object a name that the source can use; return the name."""
        name = f"{word}{len(self.names)}"
        self.names[name] = thing
        return name

    def _add(self, level: int, *lines: str) -> None:
        self.lines += [f"{'    ' * level}{line}" for line in lines]


def _longer(data: bytes, i: int, n: int) -> tuple[int, int]:
    """Read the rest of an integer after its first byte; return it and the index after it."""
    n &= 127
    shift = 7
    while True:
        byte = data[i]
        i += 1
        n |= (byte & 127) << shift
        if byte < 128:  # noqa: PLR2004 - the bit that says whether it goes on
            break
        shift += 7
        if shift > _LAST_SHIFT:
            raise ValueError
    if n >> 64:
        raise ValueError
    return n, i


def _time_of(micros: int) -> time:
    seconds, micros = divmod(micros, 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return time(hours, minutes, seconds, micros)  # ValueError below 0:00 and above 23:59


_NAMES: dict[str, Any] = {
    "EPOCH": EPOCH,
    "MICROSECOND": MICROSECOND,
    "LOCAL_EPOCH": LOCAL_EPOCH,
    "MILLISECOND": timedelta(milliseconds=1),
    "UUID": UUID,
    "day_of": date.fromordinal,
    "decimal_of": decimal_of,
    "float_at": struct.Struct("<f").unpack_from,
    "double_at": struct.Struct("<d").unpack_from,
    "from_bytes": int.from_bytes,
    "longer": _longer,
    "odd": (IndexError, ValueError, OverflowError, struct.error),
    "time_of": _time_of,
}
