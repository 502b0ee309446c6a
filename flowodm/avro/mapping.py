"""Derive the Avro schema of a model class. Pure: the same class gives the same schema.

The rules, by the Avro specification 1.11:

- A model is a record named after its class, in the namespace of its module and its enclosing
  classes. Reading matches records by the last part of the name, so a model may move.
- An Avro field has the Python name of the model's field. Its Pydantic alias becomes an Avro
  alias if it is a legal Avro name, so that a writer may use it.
- ``X | None`` puts null first, unless the default is not None: Avro requires a union's default
  to be of its first branch. A default that JSON or Avro cannot express (a factory, NaN) is left
  out of the schema; Pydantic still applies it when a record lacks the field.
- A field's description becomes its doc. A class docstring does not, since each edit of it
  would register a new version.
- ``datetime`` is timestamp-micros: an instant. A naive value is taken as UTC, never as the
  local time of the machine; a value that is read is always aware, in UTC. ``NaiveDatetime`` is
  local-timestamp-micros: the local time in an unknown time zone.
- An Enum of ints is a long, since such an Enum is compared and sorted by its ints. Any other
  Enum is an Avro enum. A member's symbol is its value if that is a legal Avro name, else its
  name.
- A tuple whose items are all of one type is an array. Any other tuple of a fixed length is a
  record with the fields ``item_0``, ``item_1``, ..., in the namespace of its model.
- A type without an Avro form is a SchemaValidationError that names class, field and type.
"""

from __future__ import annotations

import inspect
import typing
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

from pydantic import (
    AliasChoices,
    AwareDatetime,
    BaseModel,
    EmailStr,
    FutureDate,
    FutureDatetime,
    NaiveDatetime,
    PastDate,
    PastDatetime,
    RootModel,
)
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic_core import PydanticUndefined

from flowodm.avro.annotations import (
    ALIASES,
    bare,
    decimal_digits,
    decoded_by,
    in_avros_order,
    is_union,
    union_members,
)
from flowodm.avro.defaults import NoAvroDefaultError, json_default
from flowodm.avro.logical_types import TIMEDELTA, TUPLE
from flowodm.avro.names import LEGAL_NAME, full_name, symbol_of
from flowodm.exceptions import SchemaValidationError

if typing.TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic.fields import FieldInfo

AvroSchema: TypeAlias = "str | list[Any] | dict[str, Any]"

_SCALARS: dict[Any, str] = {
    str: "string",
    EmailStr: "string",
    int: "long",
    float: "double",
    bool: "boolean",
    bytes: "bytes",
    None: "null",
    type(None): "null",
}
_INSTANT = ("long", "timestamp-micros")
_DAY = ("int", "date")
_LOGICAL: dict[Any, tuple[str, str]] = {
    datetime: _INSTANT,
    AwareDatetime: _INSTANT,
    PastDatetime: _INSTANT,
    FutureDatetime: _INSTANT,
    NaiveDatetime: ("long", "local-timestamp-micros"),
    date: _DAY,
    PastDate: _DAY,
    FutureDate: _DAY,
    time: ("long", "time-micros"),
    timedelta: ("long", TIMEDELTA),
    UUID: ("string", "uuid"),
}
_EMPTY_FACTORIES = (list, dict, set, frozenset, tuple)
_LONG = 2**63


class Mapped(NamedTuple):
    """The Avro schema of a model, and the classes behind it.

    Attributes:
        schema: The record, ready for JSON.
        classes: The Python class behind each named type, by its full name: models, enums, and
            ``tuple``.
    """

    schema: dict[str, Any]
    classes: dict[str, type]


def record_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the Avro schema of a model, ready for JSON.

    Raises:
        SchemaValidationError: A field has a type, or a name, without an Avro form.
    """
    return mapped(model).schema


def mapped(model: type[BaseModel]) -> Mapped:
    """Return the Avro schema of a model, with the classes that its named types stand for.

    Raises:
        SchemaValidationError: See :func:`record_schema`.
    """
    mapper = _Mapper()
    return Mapped(mapper.root(model), mapper.classes)


class _Mapper:
    """One walk over a model that remembers the names it has defined."""

    def __init__(self) -> None:
        self.classes: dict[str, type] = {}
        self._definitions: dict[str, Any] = {}
        self._open_aliases: list[Any] = []

    def root(self, model: type[BaseModel]) -> dict[str, Any]:
        self.classes[full_name(model)] = model
        return self._define_record(model, model.__name__)

    def _record(self, model: type[BaseModel], where: str) -> AvroSchema:
        name = full_name(model)
        return name if self._is_defined(name, model, where) else self._define_record(model, where)

    def _define_record(self, model: type[BaseModel], where: str) -> dict[str, Any]:
        _complete(model, where)
        name = full_name(model)
        namespace, _, short = name.rpartition(".")
        schema: dict[str, Any] = {"type": "record", "name": short, "namespace": namespace}
        self._definitions[name] = schema  # before the fields, which may refer to it
        schema["fields"] = []
        for field_name, info in model.model_fields.items():
            if info.exclude:
                _check_excluded(model, field_name, info)
            else:
                schema["fields"].append(self._field(model, field_name, info))
        return schema

    def _is_defined(self, name: str, cls: type, where: str) -> bool:
        first = self.classes.setdefault(name, cls)
        if first is not cls:
            raise SchemaValidationError(
                f"{where}: two different classes are both named {name}; rename one of them"
            )
        return name in self._definitions

    def _field(self, model: type[BaseModel], name: str, info: FieldInfo) -> dict[str, Any]:
        where = f"{model.__name__}.{name}"
        if not LEGAL_NAME.fullmatch(name):
            raise SchemaValidationError(
                f"{where}: not a legal Avro name; use ASCII letters, digits and underscores, "
                "and the present name as the field's alias"
            )
        default = _static_default(info)
        spot = _Spot(model, name, where)
        field = {
            "name": name,
            "type": self._type(info.annotation, spot, default, metadata=info.metadata),
        }
        if info.description:
            field["doc"] = info.description
        if default is not PydanticUndefined:
            with suppress(NoAvroDefaultError):  # Pydantic's own default still applies on reading
                field["default"] = json_default(field["type"], default, self._definitions)
        aliases = _avro_aliases(model, name, info)
        if aliases:
            field["aliases"] = aliases
        return field

    def _type(
        self,
        annotation: Any,
        spot: _Spot,
        default: Any = PydanticUndefined,
        metadata: Sequence[Any] = (),
    ) -> AvroSchema:
        unwrapped = bare(annotation, metadata)
        kind = unwrapped.type
        if decoder := decoded_by(unwrapped.metadata):
            raise _no_form(
                kind,
                spot,
                f"{decoder} would decode the value again when it is read; use the type that it "
                "decodes to",
            )
        if isinstance(kind, ALIASES):
            return self._alias(kind, spot, default, metadata=unwrapped.metadata)
        if is_union(kind):
            return self._union(kind, spot, default, metadata=unwrapped.metadata)
        if (origin := typing.get_origin(kind)) is not None:
            return self._generic(kind, origin, spot, default=default)
        if kind is Decimal:
            return _decimal(unwrapped.metadata, spot)
        return self._class(kind, spot)

    def _class(self, annotation: Any, spot: _Spot) -> AvroSchema:
        if annotation in _SCALARS:
            return _SCALARS[annotation]
        if annotation in _LOGICAL:
            base, logical = _LOGICAL[annotation]
            return {"type": base, "logicalType": logical}
        if not inspect.isclass(annotation) or issubclass(annotation, RootModel):
            raise _no_form(annotation, spot)
        if issubclass(annotation, BaseModel):
            return self._record(annotation, spot.where)
        if issubclass(annotation, Enum):
            return self._enum(annotation, spot)
        raise _no_form(annotation, spot)

    def _alias(self, alias: Any, spot: _Spot, default: Any, metadata: Sequence[Any]) -> AvroSchema:
        if alias in self._open_aliases:
            raise _no_form(alias, spot, "only a model can refer to itself in Avro")
        self._open_aliases.append(alias)
        try:
            return self._type(alias.__value__, spot, default, metadata=metadata)
        finally:
            self._open_aliases.pop()

    def _generic(self, annotation: Any, origin: Any, spot: _Spot, default: Any) -> AvroSchema:
        match origin, typing.get_args(annotation):
            case (builtin, (item,)) if builtin in {list, set, frozenset}:
                return self._array(item, spot)
            case (builtin, (item, more)) if builtin is tuple and more is ...:
                return self._array(item, spot)
            case (builtin, items) if builtin is tuple:
                return self._tuple(items, spot)
            case (builtin, (key, value)) if builtin is dict:
                if bare(key).type is not str:
                    raise _no_form(annotation, spot, "the keys of an Avro map must be str")
                return {"type": "map", "values": self._type(value, spot.inside("{}"))}
            case (special, values) if special is Literal:
                _check_longs([v for v in values if type(v) is int], annotation, spot)
                return self._union(annotation, spot, default, metadata=())
        raise _no_form(annotation, spot)

    def _array(self, item: Any, spot: _Spot) -> AvroSchema:
        return {"type": "array", "items": self._type(item, spot.inside("[]"))}

    def _tuple(self, items: tuple[Any, ...], spot: _Spot) -> AvroSchema:
        if not items:
            raise _no_form(tuple, spot, "it cannot have any items")
        if all(item == items[0] for item in items):
            return self._array(items[0], spot)
        name = self._free_name(full_name(spot.model), spot.field)
        namespace, _, short = name.rpartition(".")
        schema: dict[str, Any] = {"type": "record", "name": short, "namespace": namespace}
        schema |= {"logicalType": TUPLE, "fields": []}
        self._definitions[name] = schema
        self.classes[name] = tuple
        for index, item in enumerate(items):
            kind = self._type(item, spot.inside(f"[{index}]"))
            schema["fields"].append({"name": f"item_{index}", "type": kind})
        return schema

    def _free_name(self, namespace: str, wanted: str) -> str:
        name, number = f"{namespace}.{wanted}", 1
        while name in self.classes:
            number += 1
            name = f"{namespace}.{wanted}_{number}"
        return name

    def _union(
        self, annotation: Any, spot: _Spot, default: Any, metadata: Sequence[Any]
    ) -> AvroSchema:
        branches: list[AvroSchema] = []
        for member in in_avros_order(list(union_members(annotation, metadata)), default):
            schema = self._type(member.type, spot, default, metadata=member.metadata)
            for branch in schema if isinstance(schema, list) else [schema]:
                if branch not in branches:
                    branches.append(branch)
        kinds = [_kind(branch) for branch in branches]
        for kind in kinds:
            if kinds.count(kind) > 1:
                raise SchemaValidationError(
                    f"{spot.where}: an Avro union can have {kind!r} only once, but two of its "
                    "types are written as that"
                )
        return branches if len(branches) > 1 else branches[0]

    def _enum(self, cls: type[Enum], spot: _Spot) -> AvroSchema:
        values = [member.value for member in cls]
        if values and all(type(value) is int for value in values):
            _check_longs(values, cls, spot)
            return "long"
        symbols = _symbols(cls, spot)
        name = full_name(cls)
        if self._is_defined(name, cls, spot.where):
            return name
        namespace, _, short = name.rpartition(".")
        schema = {"type": "enum", "name": short, "namespace": namespace, "symbols": symbols}
        self._definitions[name] = schema
        return schema


@dataclass(frozen=True, slots=True)
class _Spot:
    """A place in a model: for errors, and for the names of tuples."""

    model: type[BaseModel]
    field: str
    where: str

    def inside(self, step: str) -> _Spot:
        return _Spot(self.model, self.field, self.where + step)


def _decimal(metadata: Sequence[Any], spot: _Spot) -> AvroSchema:
    digits, places = decimal_digits(metadata)
    if not digits or places is None:
        raise _no_form(Decimal, spot, "give its size, as in Field(max_digits=12, decimal_places=2)")
    precision = max(digits, places)
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": places}


def _symbols(cls: type[Enum], spot: _Spot) -> list[str]:
    symbols = [symbol_of(member) for member in cls]
    if not symbols:
        raise _no_form(cls, spot, "it has no members")
    for symbol in symbols:
        if not LEGAL_NAME.fullmatch(symbol):
            raise _no_form(cls, spot, f"neither {symbol} nor its value is a legal Avro name")
        if symbols.count(symbol) > 1:
            raise _no_form(cls, spot, f"{symbol} is one member's name and another's value")
    return symbols


def _check_longs(values: Sequence[int], annotation: Any, spot: _Spot) -> None:
    if not all(-_LONG <= value < _LONG for value in values):
        raise _no_form(annotation, spot, "its numbers do not fit into Avro's long (64 bits)")


def _complete(model: type[BaseModel], where: str) -> None:
    try:
        model.model_rebuild()
    except PydanticUndefinedAnnotation as error:
        raise SchemaValidationError(f"{where}: the type {error.name} is not defined yet") from error


def _check_excluded(model: type[BaseModel], name: str, info: FieldInfo) -> None:
    if info.is_required():
        raise SchemaValidationError(
            f"{model.__name__}.{name}: exclude=True keeps it out of the record, so it needs a "
            "default to be read back"
        )


def _static_default(info: FieldInfo) -> Any:
    """Return the default that every record would get, or PydanticUndefined."""
    if info.default_factory in _EMPTY_FACTORIES:
        return info.get_default(call_default_factory=True, validated_data={})
    return info.default


def _avro_aliases(model: type[BaseModel], name: str, info: FieldInfo) -> list[str]:
    aliases: list[Any] = [info.alias, info.validation_alias]
    if isinstance(info.validation_alias, AliasChoices):
        aliases += info.validation_alias.choices
    texts = dict.fromkeys(alias for alias in aliases if isinstance(alias, str))
    other_names = [alias for alias in texts if alias not in {name, *model.model_fields}]
    return [alias for alias in other_names if LEGAL_NAME.fullmatch(alias)]


def _kind(branch: AvroSchema) -> str:
    """Return what must be unique in a union: the name of a named type, else the type."""
    if isinstance(branch, dict):
        if branch.get("logicalType") == TUPLE:
            return TUPLE  # a tuple does not show which of several records it is
        if "name" in branch:
            return f"{branch['namespace']}.{branch['name']}"
        return str(branch["type"])
    return str(branch)


def _no_form(annotation: Any, spot: _Spot, reason: str = "") -> SchemaValidationError:
    shown = annotation.__name__ if inspect.isclass(annotation) else str(annotation)
    text = f"{spot.where}: {shown} has no Avro form"
    return SchemaValidationError(f"{text}: {reason}" if reason else text)
