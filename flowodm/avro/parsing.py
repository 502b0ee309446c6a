"""Avro schemas as data, checked and with full names. Pure."""

from __future__ import annotations

from typing import Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from flowodm.avro.names import LEGAL_NAME
from flowodm.exceptions import SchemaValidationError

NAMED = frozenset({"record", "error", "enum", "fixed"})
"""The types that a schema gives a name, and refers to by it."""


_LOGICAL = frozenset(
    {
        ("bytes", "decimal"),
        ("fixed", "decimal"),
        ("fixed", "uuid"),
        ("int", "date"),
        ("int", "time-millis"),
        ("long", "local-timestamp-micros"),
        ("long", "local-timestamp-millis"),
        ("long", "time-micros"),
        ("long", "timedelta-micros"),
        ("long", "timestamp-micros"),
        ("long", "timestamp-millis"),
        ("record", "tuple"),
        ("string", "uuid"),
    }
)


def parsed(schema: Any, what: str = "the schema") -> Any:
    """A schema in which every named type and every reference has its full name.

    Args:
        schema: Avro's JSON form as data, as an .avsc file holds it; it is not changed.
        what: What to call it in an error.

    Raises:
        SchemaValidationError: It is no valid Avro schema.
    """
    try:
        full = fastavro.parse_schema(schema, {})
    except (SchemaParseException, UnknownType, KeyError, TypeError, ValueError) as error:
        reason = f"there is no type {error}" if isinstance(error, UnknownType) else str(error)
        raise SchemaValidationError(f"{what} is no valid Avro schema: {reason}") from error
    full = _without_marks(full)
    _check(full, what)
    return full


def named_types(schema: Any) -> dict[str, dict[str, Any]]:
    """Every named type of a parsed schema by its full name; those within others come first."""
    found: dict[str, dict[str, Any]] = {}
    _collect(schema, found)
    return found


def kind_of(schema: Any) -> str:
    """``union``, or the name of the type; of a reference, what it refers to."""
    if isinstance(schema, list):
        return "union"
    while isinstance(schema, dict):
        schema = schema["type"]
    return str(schema)


def logical_of(schema: Any) -> str | None:
    """The logical type; None without one, and where its base is not the specification's."""
    if not isinstance(schema, dict):
        return None
    logical = schema.get("logicalType")
    return str(logical) if (kind_of(schema), logical) in _LOGICAL else None


def _without_marks(schema: Any) -> Any:
    # fastavro's own parser would take its marks for "already parsed" after a change.
    if not isinstance(schema, dict):
        return schema
    return {key: value for key, value in schema.items() if not key.startswith("__")}


def _collect(schema: Any, found: dict[str, dict[str, Any]]) -> None:
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, found)
    elif isinstance(schema, dict):
        for field in schema.get("fields", ()):
            _collect(field["type"], found)
        for inner in ("items", "values", "type"):
            _collect(schema.get(inner), found)
        if schema["type"] in NAMED:
            found[schema["name"]] = schema


def _check(schema: Any, what: str) -> None:
    """What the specification demands and fastavro lets pass."""
    for name, named in named_types(schema).items():
        if not all(LEGAL_NAME.fullmatch(part) for part in name.split(".")):
            raise SchemaValidationError(f"{what}: {name!r} is no legal Avro name")
        fields = [field["name"] for field in named.get("fields", ())]
        for field in fields:
            if not LEGAL_NAME.fullmatch(field):
                raise SchemaValidationError(f"{what}: {name}.{field} is no legal Avro name")
            if fields.count(field) > 1:
                raise SchemaValidationError(f"{what}: {name} has the field {field} twice")
    _check_unions(schema, what)


def _check_unions(schema: Any, what: str) -> None:
    if isinstance(schema, list):
        kinds = [_branch_kind(branch) for branch in schema]
        for kind in kinds:
            if kind == "union":
                raise SchemaValidationError(f"{what}: a union holds another union")
            if kinds.count(kind) > 1:
                raise SchemaValidationError(f"{what}: a union holds {kind} twice")
        for branch in schema:
            _check_unions(branch, what)
    elif isinstance(schema, dict):
        for field in schema.get("fields", ()):
            _check_unions(field["type"], what)
        for inner in ("items", "values", "type"):
            _check_unions(schema.get(inner), what)


def _branch_kind(branch: Any) -> str:
    """What must be unique in a union: the name of a named type, else the type."""
    if isinstance(branch, dict) and branch["type"] in NAMED:
        return str(branch["name"])
    return kind_of(branch)
