"""What fastavro is told to make of records beyond Avro's own types. Pure.

fastavro calls a function after each value whose schema bears a mark, and passes the schema on.
So a schema that is only ever read with gets our mark where the plain value would not do:

- a record among several in a union becomes its model at once, since Pydantic would have to guess
  from the fields which one it was; an enum beside a string becomes its member;
- a symbol that is the name of a member, and not its value, becomes the member;
- a record that stands for a tuple becomes the tuple;
- a decimal is exact: fastavro would round one that is longer than its schema allows;
- ``timedelta-micros`` is unknown to fastavro;
- a long is not promoted to the double that stands before a long in the model's union.

The mark never leaves this process: nothing of it is in a published schema.
"""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

from fastavro.read import LOGICAL_READERS

from flowodm.avro.logical_types import EXACT, TIMEDELTA, decimal_of, timedelta_of
from flowodm.avro.names import symbol_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MARK = "flowodm"
"""The logical type of what is to become more than Avro's plain value."""

BUILD = "flowodm.build"
"""Beside the mark of a record or an enum: the function that is given the plain value."""

_RECORDS = frozenset({"record", "error"})
_TEXTS = frozenset({"string", "bytes", "enum"})


def classes_to_build(schema: Any, classes: Mapping[str, type]) -> dict[str, type]:
    """The named types of a model's schema that Pydantic cannot be left alone with.

    Args:
        schema: The model's own schema, with full names.
        classes: The Python class behind each of its named types.
    """
    wanted = {name for name, cls in classes.items() if _is_always_built(cls)}
    for union in _unions(schema):
        kinds = {name: _kind(branch, classes) for branch in union for name in (_name(branch),)}
        records = [name for name, kind in kinds.items() if kind in _RECORDS]
        texts = [name for name, kind in kinds.items() if kind in _TEXTS]
        if len(records) + ("map" in kinds.values()) > 1:
            wanted.update(records)
        if len(texts) > 1:
            wanted.update(texts)
    return {name: cls for name, cls in classes.items() if name in wanted}


def for_reading(schema: Any, classes: Mapping[str, type], *, by_alias: bool = False) -> Any:
    """The schema with our mark on everything that is to become more than Avro's plain value.

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


def _unions(schema: Any) -> Iterator[list[Any]]:
    if isinstance(schema, list):
        yield schema
        for branch in schema:
            yield from _unions(branch)
    elif isinstance(schema, dict):
        for inner in ("items", "values", "type"):
            yield from _unions(schema.get(inner))
        for field in schema.get("fields", ()):
            yield from _unions(field["type"])


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
    # What Avro has no type for (sets, tuples, enums) comes as another one, which a strict model
    # would refuse. Fields have the names of the model's fields, never their aliases, except in a
    # schema that was given.
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
    return value  # a value that passes through a function is not promoted


LOGICAL_READERS.update(
    {
        **{f"{kind}-{EXACT}": _exact for kind in ("int", "long", "float", "string", "bytes")},
        f"record-{MARK}": _built,
        f"error-{MARK}": _built,
        f"enum-{MARK}": _built,
        f"bytes-{MARK}": _decimal,
        f"fixed-{MARK}": _decimal,
        f"long-{MARK}": _timedelta,
    }
)
