"""Turn a schema that refers to others into one that stands alone. Pure.

Source of the rules: "Names" in the Avro specification. A name that is not in its namespace is
looked for without a namespace, as Java's parser does it.
"""

from __future__ import annotations

from typing import Any

_PRIMITIVES = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
    | {"array", "map", "record", "error", "enum", "fixed", "error_union", "request"}
)
_NAMED = frozenset({"record", "error", "enum", "fixed"})

_NO_NAMESPACE = "_"
"""The namespace of names without one, if others have one.

From inside a namespace, nothing can refer to a name without one.
"""


class UndefinedNameError(Exception):
    """A schema uses a name that neither it nor its references define."""


def standalone(schema: Any, referenced: list[Any]) -> Any:
    """Return the schema with each referenced type defined at its first use.

    Bytes mean the same under both schemas. All names become full names. A type without a
    namespace gets one if other types have one.

    Args:
        schema: The schema, as JSON data.
        referenced: The schemas it refers to, and those that they refer to, in any order.

    Raises:
        UndefinedNameError: A name is not defined in any of the schemas.
    """
    definitions: dict[str, tuple[Any, str]] = {}
    for other in (schema, *referenced):
        _collect_definitions(other, "", definitions)
    return _Inliner(definitions).walk(schema, "")


def _collect_definitions(schema: Any, space: str, definitions: dict[str, tuple[Any, str]]) -> None:
    """Add every definition by its full name, with the namespace around it."""
    if isinstance(schema, list):
        for branch in schema:
            _collect_definitions(branch, space, definitions)
    elif isinstance(schema, dict):
        if _is_definition(schema):
            name = _full_name(schema, space)
            definitions.setdefault(name, (schema, space))
            space = name.rpartition(".")[0]
        for field in schema.get("fields", ()):
            _collect_definitions(field.get("type"), space, definitions)
        for inner in ("type", "items", "values"):
            _collect_definitions(schema.get(inner), space, definitions)


def _is_definition(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    return isinstance(kind, str) and kind in _NAMED


def _full_name(schema: dict[str, Any], space: str) -> str:
    name = str(schema["name"])
    if "." in name:
        return name
    namespace = schema.get("namespace", space)
    return f"{namespace}.{name}" if namespace else name


class _Inliner:
    """Copies a schema, and defines each named type where it is used first."""

    def __init__(self, definitions: dict[str, tuple[Any, str]]) -> None:
        self._definitions = definitions
        self._emitted: set[str] = set()
        self._some_have_namespaces = any("." in name for name in definitions)

    def walk(self, schema: Any, space: str) -> Any:
        if isinstance(schema, list):
            return [self.walk(branch, space) for branch in schema]
        if isinstance(schema, str):
            return self._reference(schema, space)
        if not isinstance(schema, dict):
            return schema
        if _is_definition(schema):
            return self._definition(schema, space)
        copy = dict(schema)
        for key in ("type", "items", "values"):
            if key in copy:
                copy[key] = self.walk(copy[key], space)
        return copy

    def _reference(self, name: str, space: str) -> Any:
        if name in _PRIMITIVES:
            return name
        candidates = [name] if "." in name or not space else [f"{space}.{name}", name]
        for full_name in candidates:
            if full_name in self._definitions:
                definition, its_space = self._definitions[full_name]
                return self._definition(definition, its_space)
        raise UndefinedNameError(name)

    def _definition(self, schema: dict[str, Any], space: str) -> Any:
        full_name = _full_name(schema, space)
        if full_name in self._emitted:
            return self._qualified(full_name)
        self._emitted.add(full_name)
        inner_space = full_name.rpartition(".")[0]
        copy = {key: value for key, value in schema.items() if key != "namespace"}
        copy["name"] = self._qualified(full_name)
        if "fields" in schema:
            copy["fields"] = [
                {**field, "type": self.walk(field["type"], inner_space)}
                for field in schema["fields"]
            ]
        return copy

    def _qualified(self, full_name: str) -> str:
        if "." in full_name or not self._some_have_namespaces:
            return full_name
        return f"{_NO_NAMESPACE}.{full_name}"
