"""A schema that refers to others, made into one that stands alone. Pure.

Source of the rules: "Names" in the Avro specification; a name that its namespace does not have
is looked for without a namespace, as Java's parser does it.
"""

from __future__ import annotations

from typing import Any

_PRIMITIVES = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
    | {"array", "map", "record", "error", "enum", "fixed", "error_union", "request"}
)
_NAMED = frozenset({"record", "error", "enum", "fixed"})

#: Where names without a namespace move to once others have one: from inside a namespace nobody
#: could refer to them.
_NOWHERE = "_"


class UndefinedNameError(Exception):
    """A schema uses a name that neither it nor its references define."""


def standalone(schema: Any, referenced: list[Any]) -> Any:
    """The schema with each type of its references defined where it is first used.

    Bytes mean the same under both. All names become full names; a type without a namespace
    gets one where other types have one.

    Args:
        schema: As JSON data.
        referenced: The schemas it refers to, and those that they refer to, in any order.

    Raises:
        UndefinedNameError: A name is defined nowhere.
    """
    known: dict[str, tuple[Any, str]] = {}
    for other in (schema, *referenced):
        _find_definitions(other, "", known)
    return _Inliner(known).walk(schema, "")


def _find_definitions(schema: Any, space: str, known: dict[str, tuple[Any, str]]) -> None:
    if isinstance(schema, list):
        for branch in schema:
            _find_definitions(branch, space, known)
    elif isinstance(schema, dict):
        if _is_definition(schema):
            name = _full(schema, space)
            known.setdefault(name, (schema, space))
            space = name.rpartition(".")[0]
        for field in schema.get("fields", ()):
            _find_definitions(field.get("type"), space, known)
        for inner in ("type", "items", "values"):
            _find_definitions(schema.get(inner), space, known)


def _is_definition(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    return isinstance(kind, str) and kind in _NAMED


def _full(schema: dict[str, Any], space: str) -> str:
    name = str(schema["name"])
    if "." in name:
        return name
    own = schema.get("namespace", space)
    return f"{own}.{name}" if own else name


class _Inliner:
    def __init__(self, known: dict[str, tuple[Any, str]]) -> None:
        self._known = known
        self._defined: set[str] = set()
        self._moves = any("." in name for name in known)

    def walk(self, schema: Any, space: str) -> Any:
        if isinstance(schema, list):
            return [self.walk(branch, space) for branch in schema]
        if isinstance(schema, str):
            return self._used(schema, space)
        if not isinstance(schema, dict):
            return schema
        if _is_definition(schema):
            return self._definition(schema, space)
        return {
            key: self.walk(value, space) if key in {"type", "items", "values"} else value
            for key, value in schema.items()
        }

    def _used(self, name: str, space: str) -> Any:
        if name in _PRIMITIVES:
            return name
        candidates = [name] if "." in name or not space else [f"{space}.{name}", name]
        for full in candidates:
            if full in self._known:
                if full in self._defined:
                    return self._written(full)
                definition, its_space = self._known[full]
                return self._definition(definition, its_space)
        raise UndefinedNameError(name)

    def _definition(self, schema: dict[str, Any], space: str) -> Any:
        full = _full(schema, space)
        if full in self._defined:
            return self._written(full)
        self._defined.add(full)
        inner = full.rpartition(".")[0]
        written = {key: value for key, value in schema.items() if key != "namespace"}
        written["name"] = self._written(full)
        if "fields" in schema:
            written["fields"] = [
                {**field, "type": self.walk(field["type"], inner)} for field in schema["fields"]
            ]
        return written

    def _written(self, full: str) -> str:
        return full if "." in full or not self._moves else f"{_NOWHERE}.{full}"
