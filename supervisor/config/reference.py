"""config/reference.toml: every key with its meaning, from the JSON Schema of the file.

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
    """The file's text."""
    tables = schema()["$defs"]
    lines = list(_comment(_HEAD))
    for name, table in _TABLES.items():
        lines += ["", f"[{name}]"]
        for key, told in tables[table]["properties"].items():
            lines += _key(key, told)
    return "\n".join(lines) + "\n"


def _key(key: str, told: Schema) -> Iterator[str]:
    """The lines of one key; none for a key that is a table with a part of its own."""
    if key in {"restart", "kafka"}:
        return
    yield from _comment(told["description"])
    example = told.get("default", next(iter(told.get("examples", ())), None))
    written = json.dumps(_possible(told) if example is None else example, ensure_ascii=False)
    yield f"{'' if key in _NEEDED else '# '}{key} = {written}"


def _possible(told: Schema) -> object:
    """A value that stands for those of a key that has neither a default nor an example."""
    kind = next(iter(told.get("anyOf", ())), told)
    if kind.get("type") == "object":
        return {}
    return kind.get("minimum", 0) if kind.get("type") == "integer" else kind.get("enum", ["…"])[0]


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(text, 96):
        yield f"## {line}"


if __name__ == "__main__":
    sys.stdout.write(reference())
