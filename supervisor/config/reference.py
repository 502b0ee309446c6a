"""config/reference.toml: every key with its meaning and default, from the JSON Schema.

`make reference` writes it: `python -m supervisor.config.reference`.
"""

from __future__ import annotations

import json
import sys
import textwrap
from typing import TYPE_CHECKING

from supervisor.config.json_schema import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor.config.json_schema import Schema

_HEAD = (
    "Every key of the configuration, with its default or, where it has none, an example. "
    "Made by `make reference` from the models: changes here are lost. [defaults] takes the keys "
    "of a consumer, and [consumers.NAME.kafka] those of [kafka]."
)
_TABLES = {
    "supervisor": "SupervisorTable",
    "kafka": "KafkaTable",
    "consumers.orders": "ConsumerTable",
    "consumers.orders.restart": "RestartTable",
}
_NEEDED = ("model", "handler")
"""Keys that are not commented out: without them there is no consumer."""


def reference() -> str:
    """Make the file's text."""
    tables = schema()["$defs"]
    lines = list(_comment(_HEAD))
    for name, table in _TABLES.items():
        lines += ["", f"[{name}]"]
        for key, described in tables[table]["properties"].items():
            lines += _key(key, described)
    return "\n".join(lines) + "\n"


def _key(key: str, described: Schema) -> Iterator[str]:
    """Yield the lines of one key; none for a table that has a part of its own."""
    if key in {"restart", "kafka"}:
        return
    yield from _comment(described["description"])
    value = json.dumps(_value(described), ensure_ascii=False)
    yield f"{'' if key in _NEEDED else '# '}{key} = {value}"


def _value(described: Schema) -> object:
    """Return a key's default, else its first example, else a value that stands for any."""
    if "default" in described:
        return described["default"]
    if described.get("examples"):
        return described["examples"][0]
    kind = next(iter(described.get("anyOf", ())), described)
    if kind.get("type") == "object":
        return {}
    if kind.get("type") == "integer":
        return kind.get("minimum", 0)
    return kind.get("enum", ["…"])[0]


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(text, 96):
        yield f"## {line}"


if __name__ == "__main__":
    sys.stdout.write(reference())
