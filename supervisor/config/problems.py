"""What is wrong with a configuration: each problem with its key and what to write."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from supervisor.config.config import SupervisorConfig, SupervisorTable
from supervisor.config.consumer import ConsumerTable
from supervisor.config.defaults import DefaultsTable
from supervisor.config.kafka import KafkaTable
from supervisor.config.restart import RestartTable
from supervisor.config.values import START_OFFSET, START_PARTITION

if TYPE_CHECKING:
    from collections.abc import Container

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

KeyPath = tuple[str | int, ...]
LONGEST_SHOWN = 60
"""Characters; a problem does not show a value that is longer."""
_TABLES: dict[str, type[BaseModel]] = {
    "[]": SupervisorConfig,
    "[supervisor]": SupervisorTable,
    "[kafka]": KafkaTable,
    "[consumers.NAME]": ConsumerTable,
    "[consumers.NAME.restart]": RestartTable,
    "[consumers.NAME.kafka]": KafkaTable,
    "[defaults]": DefaultsTable,
    "[defaults.restart]": RestartTable,
}
"""Every table of the file, and the model with its keys."""
_IN_TOMLS_WORDS = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be an integer",
    "int_parsing": "must be an integer",
    "int_parsing_size": "must be an integer",
    "int_type": "must be an integer",
    "model_type": "must be a table",
    "string_type": "must be a string",
    "tuple_type": "must be an array",
}
"""Messages in place of Pydantic's, which have Python's words, by type of error."""
_WITHOUT_VALUE = {START_PARTITION, START_OFFSET, "too_short"}
"""Types of errors whose message has a subject of its own, or already shows what is wrong."""
_ALONE = "without_effect"
"""Type of the error of a key that needs another one."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration.

    Attributes:
        key: Dotted path of the key, or "line 3, column 7" where the TOML itself cannot be read.
        what: What is wrong there.
        hint: What to write instead; "" if nothing can be proposed.
    """

    key: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.what}" + (f"; {self.hint}" if self.hint else "")


class ConfigError(Exception):
    """A configuration is not valid.

    Attributes:
        source: The file.
        problems: Everything that is wrong with it.
    """

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.source = source
        self.problems = problems


def problems_of(error: ValidationError, written: Any, unread: Container[KeyPath]) -> list[Problem]:
    """Explain each error of the model.

    Args:
        error: What the model says.
        written: The TOML as it is written, before variables were replaced.
        unread: Keys that have a problem already; what the model says of them is noise.
    """
    errors = error.errors(include_url=False, include_input=False)
    # If [defaults] are wrong, no consumer has inherited anything, and some keys seem alone.
    no_defaults = any(details["loc"][0] == "defaults" for details in errors)
    problems = []
    for details in errors:
        if details["loc"] in unread or (no_defaults and details["type"] == _ALONE):
            continue
        problems.append(_problem(details, written))
    return problems


def key_path(path: KeyPath) -> str:
    """Write a key's path as TOML does: consumers.orders.partition_groups[0]."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", part)
            text += ("." if text else "") + (part if bare else json.dumps(part))
    return text or "file"


def value_at(tables: Any, path: KeyPath) -> Any:
    """Return the value at a path, or None."""
    for part in path:
        try:
            tables = tables[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tables


def _problem(details: ErrorDetails, written: Any) -> Problem:
    path = tuple(part for part in details["loc"] if part != "[key]")
    key, last = key_path(path), str(path[-1])
    if details["type"] == "extra_forbidden":
        return Problem(key, "is an unknown key", _place_of(last, path[:-1]))
    if details["type"] == "missing":
        every_table = "write at least one [consumers.NAME]"
        return Problem(key, "is missing", every_table if last == "consumers" else _example(path))
    if "[key]" in details["loc"]:
        hint = "use letters, digits, dots, dashes and underscores"
        return Problem(key, "is not a valid consumer name", hint)
    hint = (details.get("ctx") or {}).get("hint") or _example(path)
    return Problem(key, _with_value(details, path, written), hint)


def _with_value(details: ErrorDetails, path: KeyPath, written: Any) -> str:
    """Say what is wrong, with the value as it is written if it may be shown."""
    what = _message(details)
    if value_at(written, path) is None and _inherited(path, written):
        return f"{what} (it comes from [defaults])"
    # What stands under [kafka] may be a secret in the wrong place.
    shown = "" if "kafka" in path or details["type"] in _WITHOUT_VALUE else _shown(path, written)
    if not shown:
        return what
    return f"{what}, got {shown}" if what.startswith("must ") else f"{shown} {what}"


def _inherited(path: KeyPath, written: Any) -> bool:
    """Return whether [defaults] have the key of a consumer."""
    return value_at(written, ("defaults", *path[2:])) is not None


def _message(details: ErrorDetails) -> str:
    """Return what the model says, in TOML's words."""
    if (words := _IN_TOMLS_WORDS.get(details["type"])) is not None:
        return words
    message = re.sub(r"^\w+ should ", "must ", details["msg"])
    return f"{message[0].lower()}{message[1:]}"


def _table(path: KeyPath) -> type[BaseModel] | None:
    """Return the model of the table at this path."""
    named = len(path) > 1 and path[0] == "consumers"
    parts = ("consumers", "NAME", *path[2:]) if named else path
    return _TABLES.get(f"[{'.'.join(map(str, parts))}]")


def _place_of(key: str, path: KeyPath) -> str:
    """Propose where an unknown key belongs, or which key was meant."""
    table = _table(path)
    keys = list(table.model_fields) if table else []
    for name, other in _TABLES.items():
        if key in other.model_fields:
            return f"it belongs in {name}" if name != "[]" else f"it belongs at the top: [{key}]"
    if close := difflib.get_close_matches(key, keys, n=1):
        return f'did you mean "{close[0]}"?'
    if table is KafkaTable:
        return "librdkafka's own properties go in [kafka.options], in quotes if they have dots"
    return f"known keys: {', '.join(keys)}" if keys else "remove it"


def _example(path: KeyPath) -> str:
    """Show how a key is written, if its declaration has an example."""
    table = _table(path[:-1])
    field = table.model_fields.get(str(path[-1])) if table else None
    if field is None or not field.examples:
        return ""
    return f"write it as in {path[-1]} = {json.dumps(field.examples[0])}"


def _shown(path: KeyPath, written: Any) -> str:
    """Return a value as it is written, before variables were replaced; "" if it is too long."""
    value = value_at(written, path)
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_SHOWN else ""
