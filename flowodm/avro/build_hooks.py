"""Mark the places of a schema where fastavro calls back, and what it calls. Pure.

fastavro calls a function after each value whose schema has a logical type that it has a function
for, and passes the schema on. A schema that is only used for reading gets our own logical type
where the plain value would not do:

- A record among several in a union becomes its model at once, since Pydantic would have to guess
  from the fields which one it was. An enum beside a string becomes its member.
- A symbol that is the name of a member, and not its value, becomes the member.
- A record that stands for a tuple becomes the tuple.
- A decimal is exact: fastavro would round one that is longer than its schema allows.
- A ``timedelta-micros``, which fastavro does not know, becomes a timedelta.
- A long is not promoted to the double that stands before a long in the model's union.

The mark never leaves this process: no published schema has it.
"""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

from flowodm.avro.logical_types import EXACT, TIMEDELTA, decimal_of, timedelta_of
from flowodm.avro.names import symbol_of
from flowodm.avro.parsing import nested_schemas

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MARK = "flowodm"
"""The logical type of a value that becomes more than Avro's plain value."""

BUILD = "flowodm.build"
"""The key, beside the mark of a record or an enum, of the function that gets the plain value."""

_RECORDS = frozenset({"record", "error"})
_TEXTS = frozenset({"string", "bytes", "enum"})


def classes_to_build(schema: Any, classes: Mapping[str, type]) -> dict[str, type]:
    """Return the classes of a model's schema that Pydantic cannot be left alone with.

    Args:
        schema: The model's own schema, with full names.
        classes: The Python class behind each of its named types.
    """
    names = {name for name, cls in classes.items() if _is_always_built(cls)}
    for part in nested_schemas(schema):
        if isinstance(part, list):
            names |= _ambiguous(part, classes)
    return {name: cls for name, cls in classes.items() if name in names}


def _ambiguous(union: list[Any], classes: Mapping[str, type]) -> set[str]:
    """Return the branches of a union that Pydantic could take for one another."""
    kinds = {_name(branch): _kind(branch, classes) for branch in union}
    records = {name for name, kind in kinds.items() if kind in _RECORDS}
    texts = {name for name, kind in kinds.items() if kind in _TEXTS}
    ambiguous = set()
    if len(records) + ("map" in kinds.values()) > 1:
        ambiguous |= records
    if len(texts) > 1:
        ambiguous |= texts
    return ambiguous


def for_reading(schema: Any, classes: Mapping[str, type], *, by_alias: bool = False) -> Any:
    """Return the schema with our mark on every value that becomes more than Avro's plain value.

    Args:
        schema: A writer's or a reader's schema, with full names.
        classes: The classes to build, by the names in this schema.
        by_alias: Whether fields may have the names of their Pydantic aliases.
    """
    if isinstance(schema, list):
        return [for_reading(branch, classes, by_alias=by_alias) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    marked = dict(schema)
    for inner in ("items", "values", "type"):
        if inner in marked:
            marked[inner] = for_reading(marked[inner], classes, by_alias=by_alias)
    if "fields" in schema:
        marked["fields"] = [
            {**field, "type": for_reading(field["type"], classes, by_alias=by_alias)}
            for field in schema["fields"]
        ]
    if schema.get("name") in classes:
        build = _builder(classes[schema["name"]], schema, by_alias)
        marked |= {"logicalType": MARK, BUILD: build}
    elif schema.get("logicalType") in {"decimal", TIMEDELTA}:
        marked["logicalType"] = MARK
    return marked


def _is_always_built(cls: type) -> bool:
    if issubclass(cls, Enum):
        return any(symbol_of(member) != member.value for member in cls)
    return cls is tuple


def _name(branch: Any) -> str:
    return str(branch.get("name") or branch["type"]) if isinstance(branch, dict) else str(branch)


def _kind(branch: Any, classes: Mapping[str, type]) -> str:
    if isinstance(branch, dict):
        return str(branch["type"])
    cls = classes.get(branch)
    if cls is None:
        return str(branch)
    return "enum" if issubclass(cls, Enum) else "record"


def _builder(cls: type, schema: Mapping[str, Any], by_alias: bool) -> Callable[[Any], Any]:
    if cls is tuple:
        names = tuple(field["name"] for field in schema["fields"])
        return lambda values: tuple(values[name] for name in names)
    if issubclass(cls, Enum):
        members = {symbol_of(member): member for member in cls}
        # A symbol that the class lacks is for Pydantic to refuse.
        return lambda symbol: members.get(symbol, symbol)
    # Not strict: a set, a tuple or an enum comes as the type that Avro has instead, which a strict
    # model would refuse. Fields have the names of the model's fields, never their aliases, except
    # in a schema that was given.
    validator: Any = cls.__pydantic_validator__  # type: ignore[attr-defined] # it is a model
    return partial(validator.validate_python, strict=False, by_alias=by_alias, by_name=True)


def _built(value: Any, writer: Any, reader: Any) -> Any:
    build = (reader or writer).get(BUILD)
    return build(value) if build else value


def _decimal(data: bytes, writer: Any, _reader: Any) -> Any:
    return decimal_of(data, writer)


def _timedelta(micros: int, _writer: Any, _reader: Any) -> Any:
    return timedelta_of(micros)


def _exact(value: Any, _writer: Any, _reader: Any) -> Any:
    return value  # fastavro does not promote what a function returned


HOOKS: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    **{f"{kind}-{EXACT}": _exact for kind in ("int", "long", "float", "string", "bytes")},
    f"record-{MARK}": _built,
    f"error-{MARK}": _built,
    f"enum-{MARK}": _built,
    f"bytes-{MARK}": _decimal,
    f"fixed-{MARK}": _decimal,
    f"long-{MARK}": _timedelta,
}
"""The function for each type and mark, as fastavro's LOGICAL_READERS has them."""
