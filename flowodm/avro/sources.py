"""Where Avro schemas come from, and whether they are any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from flowodm.avro.resolution import has_weightless_items
from flowodm.exceptions import SchemaValidationError

if TYPE_CHECKING:
    from os import PathLike

    from pydantic import BaseModel


def parsed_record(schema: Any) -> dict[str, Any]:
    """A record's schema with full names, checked by fastavro.

    Raises:
        SchemaValidationError: It is no valid schema, or not that of a record; or one by which a
            few bytes of garbage would fill the memory.
    """
    try:
        parsed: Any = fastavro.parse_schema(schema, {})
    except (SchemaParseException, UnknownType, KeyError, TypeError, ValueError) as error:
        raise SchemaValidationError(f"not a valid Avro schema: {error}") from error
    if not isinstance(parsed, dict) or parsed["type"] != "record":
        raise SchemaValidationError("not the schema of a record")
    if has_weightless_items(parsed):
        raise SchemaValidationError(
            "it has an array whose items take no bytes (nulls, or records without fields), so "
            "that a few bytes could claim any number of them; use another type for the items"
        )
    # The marks of fastavro's own parser would be taken for already parsed after a change.
    return {key: value for key, value in parsed.items() if not key.startswith("__")}


def schema_from_file(path: str | PathLike[str]) -> dict[str, Any]:
    """The schema in an .avsc file.

    Raises:
        SchemaValidationError: It cannot be read, or is no JSON.
    """
    try:
        schema: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SchemaValidationError(f"schema_path {path}: {error.strerror}") from error
    except ValueError as error:
        raise SchemaValidationError(f"schema_path {path} is not JSON: {error}") from error
    return schema


def schema_from_text(text: str, model: type[BaseModel]) -> dict[str, Any]:
    """The schema in a model's Settings.

    Raises:
        SchemaValidationError: It is no JSON, or lacks a field of the model.
    """
    try:
        schema: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise SchemaValidationError(
            f"{model.__name__}.Settings.avro_schema is not JSON: {error}"
        ) from error
    _check_holds_all(schema, model)
    return schema


def _check_holds_all(schema: Any, model: type[BaseModel]) -> None:
    """A subclass of a generated model may have a field that its schema knows nothing of."""
    fields = schema.get("fields", ()) if isinstance(schema, dict) else ()
    known = {name for field in fields for name in (field["name"], *field.get("aliases", ()))}
    for name, info in model.model_fields.items():
        if not info.exclude and not known & {name, info.alias}:
            raise SchemaValidationError(
                f"{model.__name__}.{name}: Settings.avro_schema has no such field, so it would be "
                "lost; add it there, or set avro_schema = None to derive the schema"
            )
