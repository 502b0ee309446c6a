"""Tell whether two schemas give the same bytes the same meaning. Pure.

Records of such schemas need no resolution, which takes fastavro twice as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowodm.avro.logical_types import EXACT
from flowodm.avro.names import short_name
from flowodm.avro.parsing import named_types, nested_schemas

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_INNER = ("type", "items", "values", "name")
_DETAILS = ("symbols", "size", "logicalType", "precision", "scale")

EQUAL_IN_PYTHON = {
    "timestamp-millis": "timestamp-micros",
    "local-timestamp-millis": "local-timestamp-micros",
    "time-millis": "time-micros",
}
"""Logical types that become the same Python values."""

_READ_AS_LARGER = {**EQUAL_IN_PYTHON, "int": "long", "float": "double"}
"""For the writer's side only: a long is not to be read as an int, though Python allows it."""


def same_shape(writer: Any, reader: Any) -> bool:
    """Tell whether both schemas give every bit the same meaning and every field the same name.

    Documentation, defaults, aliases and namespaces do not count.
    """
    return bool(_shape(writer, _naming(writer)) == _shape(reader, _naming(reader)))


def only_drops(writer: Any, reader: Any) -> tuple[str, ...] | None:
    """Return the writer's fields that the reader lacks, or None if more has to be resolved.

    Such records are read by the writer's schema alone.

    Args:
        writer: As :func:`flowodm.avro.resolution.fit` gives it.
        reader: As :func:`flowodm.avro.resolution.fit` gives it.
    """
    if _holds_itself(writer):
        return None  # the fields would have to go at every depth
    wanted = {field["name"]: field["type"] for field in reader["fields"]}
    written = {field["name"]: field["type"] for field in writer["fields"]}
    if not written.keys() >= wanted.keys():
        return None  # the writer has another name for one of the fields
    writer_naming, reader_naming = _naming(writer), _naming(reader)
    for name, read_type in wanted.items():
        written_shape = _shape(written[name], writer_naming)
        read_shape = _shape(read_type, reader_naming)
        if not _read_alike(written_shape, read_shape):
            return None
    return tuple(written.keys() - wanted.keys())


def _read_alike(written: Any, read: Any) -> bool:
    if written == read:
        return True
    return bool(_in_python(written, _READ_AS_LARGER) == _in_python(read, EQUAL_IN_PYTHON))


def _in_python(shape: Any, equal: Mapping[str, str]) -> Any:
    """Return the shape without differences that a Python value does not show.

    Milliseconds and microseconds become the same type, a decimal has its own scale, and which
    branch of a union was written is known.

    Args:
        shape: What :func:`_shape` returns.
        equal: More types that become the same Python type, each with the one to compare.
    """
    if isinstance(shape, list):
        return sorted((_in_python(branch, equal) for branch in shape), key=repr)
    if isinstance(shape, str):
        return equal.get(shape, shape)
    alike = {key: value for key, value in shape.items() if key not in {"precision", "scale"}}
    for key in ("type", "items", "values", "logicalType"):
        if key in alike:
            alike[key] = _in_python(alike[key], equal)
    if "fields" in alike:
        alike["fields"] = [(name, _in_python(kind, equal)) for name, kind in alike["fields"]]
    return alike


def _holds_itself(record: dict[str, Any]) -> bool:
    """Tell whether a record may hold records of its own type, at any depth."""
    return any(record["name"] in nested_schemas(field["type"]) for field in record["fields"])


def _naming(schema: Any) -> Callable[[str], str]:
    """Return what makes the names of a schema comparable: short names, unless two are equal."""
    names = named_types(schema)
    ambiguous = len({short_name(name) for name in names}) < len(names)
    return str if ambiguous else short_name


def _shape(schema: Any, name_of: Callable[[str], str]) -> Any:
    """Return the parts of a schema that decide what its bytes mean."""
    if isinstance(schema, list):
        return [_shape(branch, name_of) for branch in schema]
    if isinstance(schema, str):
        return name_of(schema)
    shape = _details(schema)
    for key in _INNER:
        if key in schema:
            shape[key] = _shape(schema[key], name_of)
    if "fields" in schema:
        shape["fields"] = [(f["name"], _shape(f["type"], name_of)) for f in schema["fields"]]
    return shape["type"] if shape.keys() == {"type"} else shape


def _details(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in _DETAILS if key in schema and schema[key] != EXACT}
