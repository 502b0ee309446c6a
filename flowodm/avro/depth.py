"""Count how deeply a record's values nest, before C code that recurses gets its bytes. Pure.

fastavro reads a record inside a record by a call inside a call, in C, with nothing that counts: a
few thousand levels, which take a byte each, end the process. Only a recursive schema can nest as
deeply as the bytes say; any other nests as deeply as itself, which `schema_values` limits.

The walk reads what fastavro would read, skips what it would skip, and keeps its own stack. What
it cannot follow is refused: a length below zero, a branch that does not exist, bytes that end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowodm.avro.errors import TooDeepError
from flowodm.avro.parsing import named_types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_LEVELS = 200
"""Records, arrays and maps inside each other.

fastavro takes 2 kB of the C stack for each level (measured with fastavro 1.12 on x86-64), and the
smallest stack that CPython itself gives a thread is 1 MB (on musl). Pydantic refuses more than 255
levels of a recursive model by itself.
"""

_MORE = 0x80
_LONGEST_NUMBER = 10
"""Bytes of the longest variable-length integer, one of 64 bits."""
_FIXED_SIZES = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_NUMBERS = frozenset({"int", "long", "enum"})
_TEXTS = frozenset({"bytes", "string"})
_CONTAINERS = frozenset({"array", "map", "record", "error"})


def depth_check(schema: Any) -> Callable[[bytes, int], None] | None:
    """Return a function that refuses records which nest too deeply; None if none can.

    The function takes a record's bytes and the index of its body.

    Args:
        schema: The writer's schema, with full names.

    The function raises TooDeepError; and ValueError, IndexError or EOFError where it cannot follow
    the bytes.
    """
    definitions = named_types(schema)
    if not _is_recursive(definitions):
        return None
    levels = _levels(schema)

    def check(data: bytes, start: int) -> None:
        # Every turn of a recursion takes a byte at least, and adds no more levels than the
        # schema has.
        if (len(data) - start + 1) * levels > MOST_LEVELS:
            _Walk(data, start, definitions).through(schema)

    return check


def _is_recursive(definitions: dict[str, Any]) -> bool:
    """Tell whether a named type occurs inside itself."""
    for definition in definitions.values():
        seen: set[str] = set()
        left = list(_references(definition, definitions))
        while left:
            name = left.pop()
            if name == definition["name"]:
                return True
            if name not in seen:
                seen.add(name)
                left += _references(definitions[name], definitions)
    return False


def _references(definition: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the named types used directly or further inside a definition."""
    left = [field["type"] for field in definition.get("fields", ())]
    while left:
        schema = left.pop()
        if isinstance(schema, list):
            left += schema
        elif isinstance(schema, dict):
            if "name" in schema:
                yield schema["name"]
            else:
                left += [schema[key] for key in ("items", "values", "type") if key in schema]
        elif schema in definitions:
            yield schema


def _levels(schema: Any) -> int:
    """Return how many levels a schema has, with each type at its definition only."""
    most = 0
    left = [(schema, 1)]
    while left:
        part, level = left.pop()
        most = max(most, level)
        if isinstance(part, list):
            left += [(branch, level) for branch in part]
        elif isinstance(part, dict):
            left += [(field["type"], level + 1) for field in part.get("fields", ())]
            left += [(part[key], level + 1) for key in ("items", "values", "type") if key in part]
    return most


class _Walk:
    """One walk over a record's bytes.

    A task of the stack is a schema to read, or a container that goes on: its items or values.
    """

    def __init__(self, data: bytes, start: int, definitions: dict[str, Any]) -> None:
        self._data = data
        self._at = start
        self._definitions = definitions

    def through(self, schema: Any) -> None:
        stack: list[tuple[Any, int, int]] = [(schema, 0, 0)]
        while stack:
            part, level, left = stack.pop()
            if level > MOST_LEVELS:
                raise TooDeepError(MOST_LEVELS)
            if left:
                self._next_item(part, level, left, stack)
            else:
                self._value(part, level, stack)

    def _value(self, part: Any, level: int, stack: list[tuple[Any, int, int]]) -> None:
        if isinstance(part, list):
            index = self._number()
            if not 0 <= index < len(part):
                raise IndexError("a branch that the union does not have")
            stack.append((part[index], level, 0))
            return
        if isinstance(part, str):
            part = self._definitions.get(part, part)
        kind = part["type"] if isinstance(part, dict) else part
        if not isinstance(kind, str):
            stack.append((kind, level, 0))
        elif kind in _CONTAINERS:
            self._container(kind, part, level, stack)
        elif kind in self._definitions and not isinstance(part, dict):
            stack.append((self._definitions[kind], level, 0))
        else:
            self._skip(kind, part)

    def _container(
        self, kind: str, part: Any, level: int, stack: list[tuple[Any, int, int]]
    ) -> None:
        if kind in {"array", "map"}:
            self._block(part, level, stack)
        else:
            stack += [(field["type"], level + 1, 0) for field in reversed(part["fields"])]

    def _block(self, part: Any, level: int, stack: list[tuple[Any, int, int]]) -> None:
        """Begin the next block of an array or a map, unless it is over."""
        count = self._number()
        if count < 0:
            count = -count
            self._number()  # the block's size in bytes
        if count:
            stack.append((part, level, count))

    def _next_item(
        self, part: Any, level: int, left: int, stack: list[tuple[Any, int, int]]
    ) -> None:
        if left > 1:
            stack.append((part, level, left - 1))
        else:
            stack.append((part, level, 0))  # the next block
        if part["type"] == "map":
            self._jump(self._number())
        stack.append((part["items"] if "items" in part else part["values"], level + 1, 0))

    def _skip(self, kind: str, part: Any) -> None:
        if kind in _NUMBERS:
            self._number()
        elif kind in _TEXTS:
            self._jump(self._number())
        elif kind == "fixed":
            self._jump(part["size"])
        else:
            self._jump(_FIXED_SIZES[kind])

    def _jump(self, length: int) -> None:
        if length < 0:
            raise ValueError("a length below zero")
        self._at += length
        if self._at > len(self._data):
            raise EOFError

    def _number(self) -> int:
        """Read a variable-length integer."""
        number = shift = 0
        for byte in self._data[self._at : self._at + _LONGEST_NUMBER]:
            self._at += 1
            number |= (byte & (_MORE - 1)) << shift
            if byte < _MORE:
                return (number >> 1) ^ -(number & 1)
            shift += 7
        if shift < _LONGEST_NUMBER * 7:
            raise EOFError
        raise ValueError("a number of more than 64 bits")
