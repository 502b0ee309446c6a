"""As much of JSON Schema (draft 2020-12) as the configuration's schema uses; nothing else."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any

_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_SAYS_NOTHING = {
    *("$schema", "$defs", "title", "description", "default", "examples", "format", "writeOnly"),
}


def violations(
    value: Any, schema: dict[str, Any], root: dict[str, Any], path: str = ""
) -> list[str]:
    """Where a value breaks the schema, each with its path; a TOML time counts as its text."""
    if isinstance(value, date | datetime):
        value = value.isoformat()
    found = []
    for keyword, said in schema.items():
        if keyword not in _SAYS_NOTHING:
            found += _KEYWORDS[keyword](value, said, schema, root, path)
    return found


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])


def _type(value, said, schema, root, path):
    kinds = [said] if isinstance(said, str) else said
    return [] if any(_is(value, kind) for kind in kinds) else [f"{path}: is no {said}"]


def _ref(value, said, schema, root, path):
    return violations(value, root["$defs"][said.removeprefix("#/$defs/")], root, path)


def _any_of(value, said, schema, root, path):
    fits = any(not violations(value, kind, root, path) for kind in said)
    return [] if fits else [f"{path}: fits none of {len(said)}"]


def _enum(value, said, schema, root, path):
    return [] if value in said else [f"{path}: is none of {said}"]


def _pattern(value, said, schema, root, path):
    fits = not isinstance(value, str) or re.search(said, value)
    return [] if fits else [f"{path}: does not match {said}"]


def _bound(holds):
    def check(value, said, schema, root, path):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return [] if not number or holds(value, said) else [f"{path}: is beyond {said}"]

    return check


def _length(holds):
    def check(value, said, schema, root, path):
        sized = isinstance(value, str | dict | list)
        return [] if not sized or holds(len(value), said) else [f"{path}: has not {said}"]

    return check


def _items(value, said, schema, root, path):
    items = enumerate(value) if isinstance(value, list) else ()
    return [one for i, item in items for one in violations(item, said, root, f"{path}[{i}]")]


def _properties(value, said, schema, root, path):
    """All three keywords about properties at once."""
    if not isinstance(value, dict):
        return []
    found = []
    for name, item in value.items():
        where = f"{path}.{name}" if path else name
        fitting = [said[name]] if name in said else []
        patterns = schema.get("patternProperties", {}).items()
        fitting += [known for pattern, known in patterns if re.search(pattern, name)]
        if not fitting:
            further = schema.get("additionalProperties", True)
            if further is False:
                found.append(f"{where}: is unknown")
            fitting = [further] if isinstance(further, dict) else []
        for known in fitting:
            found += violations(item, known, root, where)
    return found


def _further_properties(value, said, schema, root, path):
    return [] if "properties" in schema else _properties(value, {}, schema, root, path)


def _pattern_properties(value, said, schema, root, path):
    return []  # seen to by the other two


def _property_names(value, said, schema, root, path):
    names = value if isinstance(value, dict) else ()
    named = {"type": "string", **said}
    return [one for name in names for one in violations(name, named, root, f"{path}.{name}")]


def _required(value, said, schema, root, path):
    missing = set(said) - value.keys() if isinstance(value, dict) else ()
    return [f"{path}: lacks {name}" for name in sorted(missing)]


_KEYWORDS = {
    "type": _type,
    "$ref": _ref,
    "anyOf": _any_of,
    "enum": _enum,
    "pattern": _pattern,
    "minimum": _bound(lambda value, said: value >= said),
    "maximum": _bound(lambda value, said: value <= said),
    "exclusiveMinimum": _bound(lambda value, said: value > said),
    "minLength": _length(lambda length, said: length >= said),
    "maxLength": _length(lambda length, said: length <= said),
    "minProperties": _length(lambda length, said: length >= said),
    "items": _items,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _further_properties,
    "propertyNames": _property_names,
    "required": _required,
}
