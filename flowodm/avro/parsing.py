"""Parse and check Avro schemas as data. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from flowodm.avro.names import LEGAL_NAME
from flowodm.avro.schema_values import check_values
from flowodm.exceptions import SchemaValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

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
"""The logical types that are known here, each with the type below it."""

_PARSE_ERRORS = (SchemaParseException, UnknownType, KeyError, TypeError, ValueError)
"""What fastavro raises for a schema that is not valid."""


def parsed(schema: Any, name: str = "the schema") -> Any:
    """Return a schema in which every named type and every reference has its full name.

    Args:
        schema: Avro's JSON form as data, as in an .avsc file; it is not changed.
        name: What an error calls the schema.

    Raises:
        SchemaValidationError: It is not a valid Avro schema.
    """
    check_values(schema, name)
    try:
        full = fastavro.parse_schema(schema, {})
    except _PARSE_ERRORS as error:
        reason = f"there is no type {error}" if isinstance(error, UnknownType) else str(error)
        raise SchemaValidationError(f"{name} is not a valid Avro schema: {reason}") from error
    full = _without_marks(full)
    _check(full, name)
    return full


def parsed_record(schema: Any) -> dict[str, Any]:
    """Return a record's schema with full names, checked by fastavro.

    Raises:
        SchemaValidationError: It is not valid, or not the schema of a record; or a few bytes of
            garbage would fill the memory.
    """
    check_values(schema, "it")
    try:
        full: Any = fastavro.parse_schema(schema, {})
    except _PARSE_ERRORS as error:
        raise SchemaValidationError(f"not a valid Avro schema: {error}") from error
    if not isinstance(full, dict) or full["type"] != "record":
        raise SchemaValidationError("not the schema of a record")
    if _has_weightless_items(full):
        raise SchemaValidationError(
            "it has an array whose items take no bytes (nulls, or records without fields), so "
            "that a few bytes could claim any number of them; use another type for the items"
        )
    record: dict[str, Any] = _without_marks(full)
    return record


def schema_from_text(text: str, model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema in a model's Settings, as data.

    Raises:
        SchemaValidationError: It is not JSON, or lacks a field of the model.
    """
    try:
        schema: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SchemaValidationError(
            f"{model.__name__}.Settings.avro_schema is not JSON: {error}"
        ) from error
    _check_has_every_field(schema, model)
    return schema


def inner_schemas(schema: Any) -> Iterator[Any]:
    """Yield the schemas directly inside a schema: of fields, items, values and branches."""
    if isinstance(schema, list):
        yield from schema
    elif isinstance(schema, dict):
        for field in schema.get("fields", ()):
            yield field["type"]
        for key in ("items", "values", "type"):
            if key in schema:
                yield schema[key]


def nested_schemas(schema: Any) -> Iterator[Any]:
    """Yield a schema, and all schemas inside it at any depth."""
    yield schema
    for inner in inner_schemas(schema):
        yield from nested_schemas(inner)


def named_types(schema: Any) -> dict[str, dict[str, Any]]:
    """Return every named type of a parsed schema by its full name, inner ones first."""
    definitions: dict[str, dict[str, Any]] = {}
    _collect(schema, definitions)
    return definitions


def kind_of(schema: Any) -> str:
    """Return ``union``, or the name of the type; of a reference, the name it refers to."""
    if isinstance(schema, list):
        return "union"
    while isinstance(schema, dict):
        schema = schema["type"]
    return str(schema)


def logical_of(schema: Any) -> str | None:
    """Return the logical type; None without one, or if it does not belong on this type."""
    if not isinstance(schema, dict):
        return None
    logical = schema.get("logicalType")
    return str(logical) if (kind_of(schema), logical) in _LOGICAL else None


def _has_weightless_items(schema: Any) -> bool:
    """Tell whether an array's items take no bytes, so that its length may be any number."""
    definitions = named_types(schema)
    for part in nested_schemas(schema):
        is_array = isinstance(part, dict) and part["type"] == "array"
        if is_array and _is_weightless(part["items"], definitions, frozenset()):
            return True
    return False


def _is_weightless(
    schema: Any, definitions: dict[str, dict[str, Any]], within: frozenset[str]
) -> bool:
    if isinstance(schema, str):
        schema = definitions.get(schema, schema)
    match schema:
        case "null" | {"type": "null"} | {"type": "fixed", "size": 0}:
            return True
        case {"type": "record" | "error", "name": name, "fields": fields}:
            # A record that holds itself does so in a union, or has no value at all.
            return name not in within and all(
                _is_weightless(field["type"], definitions, within | {name}) for field in fields
            )
        case _:
            return False


def _without_marks(schema: Any) -> Any:
    """Remove fastavro's marks: its parser would take a changed schema for parsed already."""
    if not isinstance(schema, dict):
        return schema
    return {key: value for key, value in schema.items() if not key.startswith("__")}


def _collect(schema: Any, definitions: dict[str, dict[str, Any]]) -> None:
    for inner in inner_schemas(schema):
        _collect(inner, definitions)
    if isinstance(schema, dict) and "name" in schema:
        definitions[schema["name"]] = schema


def _check(schema: Any, name: str) -> None:
    """Check what the specification demands and fastavro does not check."""
    for full_name, definition in named_types(schema).items():
        if not all(LEGAL_NAME.fullmatch(part) for part in full_name.split(".")):
            raise SchemaValidationError(f"{name}: {full_name!r} is not a legal Avro name")
        fields = [field["name"] for field in definition.get("fields", ())]
        for field in fields:
            if not LEGAL_NAME.fullmatch(field):
                raise SchemaValidationError(f"{name}: {full_name}.{field} is not a legal Avro name")
            if fields.count(field) > 1:
                raise SchemaValidationError(f"{name}: {full_name} has the field {field} twice")
    for part in nested_schemas(schema):
        if isinstance(part, list):
            _check_union(part, name)


def _check_union(branches: list[Any], name: str) -> None:
    kinds = [_branch_kind(branch) for branch in branches]
    for kind in kinds:
        if kind == "union":
            raise SchemaValidationError(f"{name}: a union holds another union")
        if kinds.count(kind) > 1:
            raise SchemaValidationError(f"{name}: a union holds {kind} twice")


def _branch_kind(branch: Any) -> str:
    """Return what must be unique in a union: the name of a named type, else the type."""
    if isinstance(branch, dict) and branch["type"] in NAMED:
        return str(branch["name"])
    return kind_of(branch)


def _check_has_every_field(schema: Any, model: type[BaseModel]) -> None:
    """Refuse a schema without a field of the model, such as one that a subclass added."""
    fields = schema.get("fields", ()) if isinstance(schema, dict) else ()
    names = {name for field in fields for name in (field["name"], *field.get("aliases", ()))}
    for name, info in model.model_fields.items():
        if not info.exclude and not names & {name, info.alias}:
            raise SchemaValidationError(
                f"{model.__name__}.{name}: Settings.avro_schema has no such field, so it would be "
                "lost; add it there, or set avro_schema = None to derive the schema"
            )
