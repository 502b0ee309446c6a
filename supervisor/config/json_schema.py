"""The JSON Schema (draft 2020-12) of the configuration file, for editors.

It is made of the models, and describes what is written rather than what it becomes: lengths of
time as text, `${VARIABLES}` where a number is expected, secrets as the names of files. What only
several keys together show, such as a contradiction, is for `check` to find.
"""

from __future__ import annotations

from typing import Any, get_args

from pydantic import SecretStr

from supervisor.config.config import SupervisorConfig
from supervisor.config.kafka import KafkaTable
from supervisor.config.profiles import PROFILES
from supervisor.config.values import LENGTH_OF_TIME, seconds

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TABLES = ("SupervisorTable", "KafkaTable", "ConsumerTable", "DefaultsTable", "RestartTable")
"""The tables of the file, by the names of their models."""
_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{"}
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
"""Keywords that Pydantic leaves as they are where a validator comes first, and JSON Schema's."""


def schema() -> Schema:
    """Make the schema, as JSON data."""
    whole = SupervisorConfig.model_json_schema(mode="validation")
    tables: dict[str, Schema] = whole.pop("$defs")
    enums = {f"#/$defs/{name}": tables.pop(name) for name in tables.keys() - set(TABLES)}
    for table in tables.values():
        _describe(table, enums)
        table["description"] = table["description"].partition("\n")[0]
    _describe(whole, enums)
    _add_secret_files(tables["KafkaTable"])
    for name in ("ConsumerTable", "DefaultsTable"):
        settings = tables[name]["properties"]["settings"]
        settings |= {"anyOf": [{"enum": list(PROFILES)}, {"type": "string", "pattern": "[:$]"}]}
        settings.pop("type")
    whole["properties"]["consumers"]["additionalProperties"] = False
    whole |= {"title": "flowodm-supervisor", "description": "A fleet of flowodm's consumer loops."}
    return {"$schema": DIALECT, **whole, "$defs": tables}


def _describe(table: Schema, enums: dict[str, Schema]) -> None:
    """Replace what Pydantic says of each key by its meaning and how it may be written."""
    table.pop("title", None)
    for name, key in table["properties"].items():
        table["properties"][name] = _key(enums.get(key.get("$ref", ""), {}) | key, enums)


def _key(pydantics: Schema, enums: dict[str, Schema]) -> Schema:
    """Describe one key."""
    meaning, unit = pydantics["description"], _unit(pydantics)
    described: Schema = {"description": f"{meaning} {unit}" if unit else meaning}
    for name in ("default", "examples"):
        if pydantics.get(name) is not None:
            described[name] = pydantics[name]
    if unit == LENGTH_OF_TIME and "default" in described:
        described["default"] = seconds(described["default"])
    ignored = {"default", "description", "examples", "title", "unit"}
    kind = {name: value for name, value in pydantics.items() if name not in ignored}
    if kind.get("$ref") in enums:
        del kind["$ref"]
    return described | _written(kind)


def _unit(kind: Schema) -> str:
    """Return the unit of a value; "" if it has none, or may be of several kinds."""
    kinds = [each for each in kind.get("anyOf", ()) if each != {"type": "null"}]
    only = kinds[0] if len(kinds) == 1 else kind
    return str(only.get("unit", ""))


def _written(kind: Schema) -> Schema:
    """Describe how a value may be written: also as a variable, unless any text will do."""
    kind = {_BOUNDS.get(name, name): value for name, value in kind.items() if name != "unit"}
    if "anyOf" in kind:
        kinds = [each for each in kind["anyOf"] if each != {"type": "null"}]  # TOML has no null
        return _written(kinds[0]) if len(kinds) == 1 else {"anyOf": [*kinds, _VARIABLE]}
    if "items" in kind:
        return {**kind, "items": _written(kind["items"])}
    constrained = kind.keys() & {"enum", "pattern"} or kind.get("type") in {"integer", "number"}
    return {"anyOf": [kind, _VARIABLE]} if constrained else kind


def _add_secret_files(kafka: Schema) -> None:
    """Add the keys that name a secret's file; the TOML reader replaces them by its content."""
    for name, field in KafkaTable.model_fields.items():
        if SecretStr in get_args(field.annotation):
            meaning = f"Path of a file that holds {name}, relative to this file. Instead of {name}."
            kafka["properties"][f"{name}_file"] = {"description": meaning, "type": "string"}
