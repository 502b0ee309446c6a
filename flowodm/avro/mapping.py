"""From a model class to its Avro schema. Pure: the same class gives the same schema.

The rules, by the Avro specification 1.11:

- A model is a record named after its class, in the namespace of its module and its enclosing
  classes. Reading matches records by the last part of the name, so a model may move.
- An Avro field has the Python name of the model's field. Its Pydantic alias, where that is a
  legal Avro name, becomes an Avro alias: a writer that uses it is understood.
- ``X | None`` puts null first, unless the default is not None: Avro wants a union's default in
  its first branch. A default that JSON or Avro cannot express (a factory, NaN) is left out of
  the schema; Pydantic still applies it when a record lacks the field.
- A field's description becomes its doc. A class docstring does not, since each edit of it
  would register a new version.
- ``datetime`` is timestamp-micros: an instant. A naive value is taken as UTC, never as the
  local time of the machine; what is read is always aware, in UTC.
- Which type of a union a value comes back as is Pydantic's decision, made by the value: an
  enum beside str or bytes comes back as the text.
- What has no Avro form is a SchemaValidationError that names class, field and type.
"""

from __future__ import annotations

import inspect
import types
import typing
from contextlib import suppress
from datetime import date, datetime, time
from enum import Enum
from typing import Annotated, Any, Literal, NewType, TypeAlias, Union
from uuid import UUID

import typing_extensions
from pydantic import AwareDatetime, BaseModel, RootModel
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic_core import PydanticUndefined

from flowodm.avro.defaults import NoAvroDefaultError, json_default
from flowodm.avro.names import LEGAL_NAME, full_name
from flowodm.exceptions import SchemaValidationError

if typing.TYPE_CHECKING:
    from pydantic.fields import FieldInfo

AvroSchema: TypeAlias = "str | list[Any] | dict[str, Any]"

_SCALARS: dict[Any, str] = {
    str: "string",
    int: "long",
    float: "double",
    bool: "boolean",
    bytes: "bytes",
    None: "null",
    type(None): "null",
}
_LOGICAL: dict[Any, tuple[str, str]] = {
    datetime: ("long", "timestamp-micros"),
    AwareDatetime: ("long", "timestamp-micros"),
    date: ("int", "date"),
    time: ("long", "time-micros"),
    UUID: ("string", "uuid"),
}
# typing has its own since Python 3.12.
_ALIASES = (
    typing_extensions.TypeAliasType,
    getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType),
)
_EMPTY_FACTORIES = (list, dict, set, frozenset, tuple)


def record_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The Avro schema of a model, ready for JSON.

    Raises:
        SchemaValidationError: A field has a type, or a name, without an Avro form.
    """
    return _Mapper().root(model)


class _Mapper:
    """One walk over a model; remembers the names it has defined."""

    def __init__(self) -> None:
        self._classes: dict[str, type] = {}
        self._definitions: dict[str, Any] = {}
        self._open_aliases: list[Any] = []

    def root(self, model: type[BaseModel]) -> dict[str, Any]:
        self._classes[full_name(model)] = model
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
        known = self._classes.setdefault(name, cls)
        if known is not cls:
            raise SchemaValidationError(
                f"{where}: two different classes are both named {name}; rename one of them"
            )
        return name in self._definitions

    def _field(self, model: type[BaseModel], name: str, info: FieldInfo) -> dict[str, Any]:
        where = f"{model.__name__}.{name}"
        if not LEGAL_NAME.fullmatch(name):
            raise SchemaValidationError(
                f"{where}: not a legal Avro name; use ASCII letters, digits and underscores, "
                "and the other name as the field's alias"
            )
        default = _static_default(info)
        field = {"name": name, "type": self._type(info.annotation, where, default)}
        if info.description:
            field["doc"] = info.description
        if default is not PydanticUndefined:
            with suppress(NoAvroDefaultError):  # Pydantic's own default still applies on reading
                field["default"] = json_default(field["type"], default, self._definitions)
        aliases = _avro_aliases(model, name, info)
        if aliases:
            field["aliases"] = aliases
        return field

    def _type(self, annotation: Any, where: str, default: Any = PydanticUndefined) -> AvroSchema:
        annotation = _without_metadata(annotation)
        if isinstance(annotation, _ALIASES):
            return self._alias(annotation, where, default)
        origin = typing.get_origin(annotation)
        if origin is Union or origin is types.UnionType:
            return self._union(typing.get_args(annotation), where, default)
        if origin is not None:
            return self._generic(annotation, origin, where)
        if annotation in _SCALARS:
            return _SCALARS[annotation]
        if annotation in _LOGICAL:
            base, logical = _LOGICAL[annotation]
            return {"type": base, "logicalType": logical}
        return self._class(annotation, where)

    def _class(self, annotation: Any, where: str) -> AvroSchema:
        if not inspect.isclass(annotation) or issubclass(annotation, RootModel):
            raise _no_form(annotation, where)
        if issubclass(annotation, BaseModel):
            return self._record(annotation, where)
        if issubclass(annotation, Enum):
            return self._enum(annotation, where)
        raise _no_form(annotation, where)

    def _alias(self, alias: Any, where: str, default: Any) -> AvroSchema:
        if alias in self._open_aliases:
            raise _no_form(alias, where, "only a model can refer to itself in Avro")
        self._open_aliases.append(alias)
        try:
            return self._type(alias.__value__, where, default)
        finally:
            self._open_aliases.pop()

    def _generic(self, annotation: Any, origin: Any, where: str) -> AvroSchema:
        match origin, typing.get_args(annotation):
            case (builtin, (item,)) if builtin in {list, set, frozenset}:
                return {"type": "array", "items": self._type(item, f"{where}[]")}
            case (builtin, (item, more)) if builtin is tuple and more is ...:
                return {"type": "array", "items": self._type(item, f"{where}[]")}
            case (builtin, (key, value)) if builtin is dict:
                if _without_metadata(key) is not str:
                    raise _no_form(annotation, where, "the keys of an Avro map are str")
                return {"type": "map", "values": self._type(value, f"{where}{{}}")}
            case (special, values) if special is Literal and all(type(v) is str for v in values):
                return "string"
        raise _no_form(annotation, where)

    def _union(self, args: tuple[Any, ...], where: str, default: Any) -> AvroSchema:
        branches: list[AvroSchema] = []
        for arg in _first_for(default, args):
            mapped = self._type(arg, where)
            for branch in mapped if isinstance(mapped, list) else [mapped]:
                if branch not in branches:
                    branches.append(branch)
        kinds = [_kind(branch) for branch in branches]
        for kind in kinds:
            if kinds.count(kind) > 1:
                raise SchemaValidationError(
                    f"{where}: an Avro union holds {kind!r} once; two of its types are written so"
                )
        return branches if len(branches) > 1 else branches[0]

    def _enum(self, cls: type[Enum], where: str) -> AvroSchema:
        symbols = [member.value for member in cls]
        if not symbols or not all(type(s) is str and LEGAL_NAME.fullmatch(s) for s in symbols):
            raise _no_form(cls, where, "its values must be str and legal Avro names")
        name = full_name(cls)
        if self._is_defined(name, cls, where):
            return name
        namespace, _, short = name.rpartition(".")
        schema = {"type": "enum", "name": short, "namespace": namespace, "symbols": symbols}
        self._definitions[name] = schema
        return schema


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


def _without_metadata(annotation: Any) -> Any:
    while True:
        if typing.get_origin(annotation) is Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def _first_for(default: Any, args: tuple[Any, ...]) -> list[Any]:
    """A union's types with the default's own first, else None first, else as written."""
    bare = [typing.get_origin(arg) or arg for arg in map(_without_metadata, args)]
    wanted = type(None) if default is PydanticUndefined else type(default)
    if wanted is int and int not in bare:
        wanted = float
    order = {wanted: 0, type(None): 1}
    ranked = sorted(zip(bare, args, strict=True), key=lambda pair: order.get(pair[0], 2))
    return [arg for _, arg in ranked]


def _static_default(info: FieldInfo) -> Any:
    """The default that every record would get, or PydanticUndefined."""
    if info.default_factory in _EMPTY_FACTORIES:
        return info.get_default(call_default_factory=True, validated_data={})
    return info.default


def _avro_aliases(model: type[BaseModel], name: str, info: FieldInfo) -> list[str]:
    wanted = dict.fromkeys([info.alias, info.validation_alias])
    return [
        alias
        for alias in wanted
        if isinstance(alias, str)
        and LEGAL_NAME.fullmatch(alias)
        and alias != name
        and alias not in model.model_fields
    ]


def _kind(branch: AvroSchema) -> str:
    """What must be unique in a union: the name of a named type, else the type."""
    if isinstance(branch, dict):
        if "name" in branch:
            return f"{branch['namespace']}.{branch['name']}"
        return str(branch["type"])
    return str(branch)


def _no_form(annotation: Any, where: str, reason: str = "") -> SchemaValidationError:
    shown = annotation.__name__ if inspect.isclass(annotation) else str(annotation)
    text = f"{where}: {shown} has no Avro form"
    return SchemaValidationError(f"{text}: {reason}" if reason else text)
