"""The JSON Schema (draft 2020-12) of the configuration file, for editors.

It comes from the models themselves, and describes what is written rather than what it becomes:
lengths of time as text, `${VARIABLES}` where a number is expected, secrets as the names of files.
What only several keys together show, such as a contradiction, is for `check` to find.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, get_args

from pydantic import SecretStr

from supervisor.config.config import SupervisorConfig, SupervisorTable
from supervisor.config.consumer import PROFILES, ConsumerTable
from supervisor.config.kafka import KafkaTable
from supervisor.config.values import seconds
from supervisor.slot.restart import RestartPolicy

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{"}
_LENGTH = "A length of time such as 500ms, 30s or 1m30s, or a number of seconds."
_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
_DOCUMENTED: dict[str, type] = {
    "SupervisorTable": SupervisorTable,
    "KafkaTable": KafkaTable,
    "ConsumerTable": ConsumerTable,
    "DefaultsTable": ConsumerTable,
    "RestartTable": RestartPolicy,
}
"""Where the meaning of each table's keys is written down."""
_TITLES = {
    "SupervisorTable": "[supervisor]: the daemon itself.",
    "KafkaTable": "[kafka]: how workers reach Kafka and the schema registry.",
    "ConsumerTable": "[consumers.NAME]: one consumer and its workers.",
    "DefaultsTable": "[defaults]: what holds for every consumer that does not say otherwise.",
    "RestartTable": "What follows when a worker ends.",
}
_RENAMED = {"policy": "mode"}
"""Keys, and what the class that documents them calls them."""
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
"""What Pydantic leaves as it is where a validator comes first, in the words of JSON Schema."""


def schema() -> Schema:
    """The schema as JSON data."""
    made = SupervisorConfig.model_json_schema(mode="validation")
    tables: dict[str, Schema] = made.pop("$defs")
    enums = {f"#/$defs/{name}": tables.pop(name) for name in tables.keys() - _DOCUMENTED.keys()}
    for name, documented in _DOCUMENTED.items():
        _describe(tables[name], _attributes(documented), enums)
        tables[name]["description"] = _TITLES[name]
    _describe(made, _attributes(SupervisorConfig), enums)
    _name_files(tables["KafkaTable"])
    for name in ("ConsumerTable", "DefaultsTable"):
        settings = tables[name]["properties"]["settings"]
        settings |= {"anyOf": [{"enum": list(PROFILES)}, {"type": "string", "pattern": "[:$]"}]}
        settings.pop("type")
    made["properties"]["consumers"]["additionalProperties"] = False
    made |= {"title": "flowodm-supervisor", "description": "A fleet of flowodm's consumer loops."}
    return {"$schema": DIALECT, **made, "$defs": tables}


def _attributes(documented: type) -> dict[str, str]:
    """What a class's docstring says of its attributes."""
    text = inspect.cleandoc(documented.__doc__ or "")
    return {name: " ".join(told.split()) for name, told in _ATTRIBUTE.findall(text)}


def _describe(table: Schema, told: dict[str, str], enums: dict[str, Schema]) -> None:
    """Say what each key means and how it may be written."""
    table.pop("title", None)
    for name, key in table["properties"].items():
        written = _written(enums.get(key.get("$ref", ""), {}) | key, enums)
        text = told.get(_RENAMED.get(name, name), "")
        if _is_length(written):
            text = f"{text} {_LENGTH}"
            if "default" in written:
                written["default"] = seconds(written["default"])
        table["properties"][name] = {"description": text.strip(), **written}


def _written(key: Schema, enums: dict[str, Schema]) -> Schema:
    """How one key may be written, with what else is known of it."""
    known = {name: key[name] for name in ("default", "examples") if key.get(name) is not None}
    said = {name: value for name, value in key.items() if name not in {*known, "default", "title"}}
    if said.get("$ref") in enums:
        del said["$ref"]
    said.pop("description", None)
    return {**known, **_accepting(said)}


def _accepting(said: Schema) -> Schema:
    """The same, and also a variable where not any text will do. TOML has no null."""
    said = {_BOUNDS.get(name, name): value for name, value in said.items()}
    if "anyOf" in said:
        kinds = [kind for kind in said["anyOf"] if kind != {"type": "null"}]
        if len(kinds) == 1:
            return _accepting(kinds[0])
        return {"anyOf": [*kinds, _VARIABLE]}
    if "items" in said:
        return {**said, "items": _accepting(said["items"])}
    constrained = said.keys() & {"enum", "pattern"} or said.get("type") in {"integer", "number"}
    return {"anyOf": [said, _VARIABLE]} if constrained else said


def _is_length(written: Schema) -> bool:
    return any("ms|s|m|h" in kind.get("pattern", "") for kind in written.get("anyOf", ()))


def _name_files(kafka: Schema) -> None:
    """Add the keys that name a secret's file; the TOML reader replaces them by its content."""
    for name, field in KafkaTable.model_fields.items():
        if SecretStr in get_args(field.annotation):
            told = f"Instead of {name}: path of a file that holds it, from the folder of this one."
            kafka["properties"][f"{name}_file"] = {"description": told, "type": "string"}
