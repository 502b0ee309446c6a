"""Convert a model's values to those that fastavro writes, by functions compiled once per schema.

fastavro alone would take naive datetimes as local time, cut 1.7 down to the long 1, write any
object as a boolean, and try a union's branches one by one. Here the schema decides, and a value
that does not fit is an error. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, EnumType
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from pydantic import BaseModel

from flowodm.avro.errors import ValueAtError
from flowodm.avro.logical_types import TUPLE, Convert, logical_writer, python_types
from flowodm.avro.names import full_name, short_name, symbol_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_Branch: TypeAlias = "tuple[str, Convert | None]"
"""The name of a union's branch, and the conversion of its values."""

_NO_CLASSES: Mapping[str, type] = MappingProxyType({})

_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1
_LONG_MIN, _LONG_MAX = -(2**63), 2**63 - 1


def compile_writer(schema: dict[str, Any], classes: Mapping[str, type] = _NO_CLASSES) -> Convert:
    """Return a function that turns a message into the dictionary that fastavro writes.

    Args:
        schema: A record's schema with full names, as fastavro's parse_schema gives it.
        classes: The classes behind its named types, by their full names. Of an enum in a model
            with ``use_enum_values`` the message holds a member's value, which need not be the
            member's symbol. The function keeps no other classes alive.

    The function raises TypeError or ValueError, with the field's path, for a value that the
    schema does not allow.
    """
    return _Compiler(classes).record(schema)


def physical(schema: Any) -> Any:
    """Return the schema without the logical types that this module converts.

    The bytes are the same, and fastavro is faster.
    """
    if isinstance(schema, list):
        return [physical(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    plain = dict(schema)
    if logical_writer(schema) is not None:
        if schema["type"] != "fixed":
            return schema["type"]
        del plain["logicalType"]
    for key in ("items", "values", "type"):
        if key in plain:
            plain[key] = physical(plain[key])
    if "fields" in plain:
        plain["fields"] = [{**field, "type": physical(field["type"])} for field in schema["fields"]]
    return plain


def _allows_null(schema: Any) -> bool:
    return schema == "null" or (isinstance(schema, list) and "null" in schema)


class _Compiler:
    """Makes the conversions of one schema, and remembers those of its named types."""

    def __init__(self, classes: Mapping[str, type]) -> None:
        self._classes = classes
        self._declared = frozenset(classes.values())
        self._named: dict[str, Convert] = {}
        self._schemas: dict[str, Any] = {}

    def record(self, schema: dict[str, Any]) -> Convert:
        writer = _RecordWriter(schema["name"], self._declared)
        self._named[schema["name"]] = writer
        writer.fields = {field["name"]: self._value(field["type"]) for field in schema["fields"]}
        # A field that the model lacks is written as its default, or else as null.
        writer.optional = {
            field["name"]
            for field in schema["fields"]
            if "default" in field or _allows_null(field["type"])
        }
        return writer

    def _value(self, schema: Any) -> Convert | None:
        """Return the conversion of one value; None if fastavro takes the value as it is."""
        if isinstance(schema, list):
            converts = [self._value(branch) for branch in schema]  # first: it defines names
            full = [self._schemas.get(b, b) if isinstance(b, str) else b for b in schema]
            return _UnionWriter(list(zip(full, converts, strict=True)), self._declared)
        if isinstance(schema, str):
            return _PRIMITIVES.get(schema) or self._named.get(schema)
        if "name" in schema:
            self._schemas[schema["name"]] = schema
        if schema["type"] in ("array", "map", "enum", "fixed", "record", "error"):
            return self._complex(schema)
        # Avro's rule: an unknown logical type is ignored.
        return logical_writer(schema) or self._value(schema["type"])

    def _complex(self, schema: dict[str, Any]) -> Convert | None:
        match schema["type"]:
            case "array":
                return _array(self._value(schema["items"]))
            case "map":
                return _map(self._value(schema["values"]))
            case "enum":
                convert: Convert | None = _EnumWriter(
                    schema["symbols"], self._classes.get(schema["name"])
                )
            case "fixed":
                convert = logical_writer(schema)
            case _ if schema.get("logicalType") == TUPLE:
                return self._tuple(schema)
            case _:
                return self.record(schema)
        if convert is not None:
            self._named[schema["name"]] = convert
        return convert

    def _tuple(self, schema: dict[str, Any]) -> Convert:
        writer = _TupleWriter()
        self._named[schema["name"]] = writer
        writer.items = [(field["name"], self._value(field["type"])) for field in schema["fields"]]
        return writer


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one class is written by one record's schema.

    Attributes:
        copies: Whether the model's own dictionary can be copied, since its names are those of
            the schema.
        steps: Avro field, attribute, and conversion, for each field that a copy is not enough
            for.
        open: Whether the class takes fields that it does not declare.
    """

    copies: bool
    steps: tuple[tuple[str, str, Convert | None], ...]
    open: bool


class _RecordWriter:
    """Turns messages into dictionaries; one plan per class, made for its first message."""

    def __init__(self, name: str, declared: frozenset[type]) -> None:
        self.name = name
        self.fields: dict[str, Convert | None] = {}
        self.optional: set[str] = set()
        self._declared = declared
        self._plans: dict[type, _Plan] = {}
        self._plans_of_others: WeakKeyDictionary[type, _Plan] = WeakKeyDictionary()

    def __call__(self, message: Any) -> dict[str, Any]:
        cls = type(message)
        plan = self._plans.get(cls) or self._plan(cls)
        if plan.open and message.__pydantic_extra__:
            extra = ", ".join(message.__pydantic_extra__)
            raise TypeError(f"{cls.__name__} has fields that the schema lacks: {extra}")
        held = message.__dict__
        values = held.copy() if plan.copies else {}
        for name, attribute, convert in plan.steps:
            try:
                value = held[attribute]
                values[name] = convert(value) if convert else value
            except (TypeError, ValueError, OverflowError, AttributeError, KeyError) as error:
                raise _at(attribute, error) from None
        return values

    def _plan(self, cls: type) -> _Plan:
        plan = self._plans_of_others.get(cls)
        if plan is None:
            plan = self._new_plan(cls)
            plans = self._plans if cls in self._declared else self._plans_of_others
            plans[cls] = plan
        return plan

    def _new_plan(self, cls: type) -> _Plan:
        if not issubclass(cls, BaseModel):
            raise TypeError(f"must be a Pydantic model, got {cls.__name__}")
        steps = []
        for name, convert in self.fields.items():
            attribute = self._attribute(cls, name)
            if attribute is not None:
                steps.append((name, attribute, convert))
        copies = all(name == attribute for name, attribute, _ in steps)
        if copies:  # the copied dictionary already holds what needs no conversion
            steps = [step for step in steps if step[2] is not None]
        return _Plan(copies, tuple(steps), cls.model_config.get("extra") == "allow")

    def _attribute(self, cls: type[BaseModel], name: str) -> str | None:
        """Return the model's name for a field of the schema; None if the model lacks it."""
        if name in cls.model_fields:
            return name
        for attribute, info in cls.model_fields.items():
            if info.alias == name:
                return attribute
        if name not in self.optional:
            raise TypeError(f"{cls.__name__} lacks the field {name} of schema {self.name}")
        return None


class _TupleWriter:
    """Turns tuples into dictionaries, for a record that stands for a tuple."""

    def __init__(self) -> None:
        self.items: list[tuple[str, Convert | None]] = []

    def __call__(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, tuple) or len(value) != len(self.items):
            raise TypeError(f"must be a tuple of {len(self.items)} items, got {_described(value)}")
        values = {}
        for index, (name, convert) in enumerate(self.items):
            try:
                values[name] = convert(value[index]) if convert else value[index]
            except (TypeError, ValueError, OverflowError, AttributeError, KeyError) as error:
                raise _at(str(index), error) from None
        return values


class _EnumWriter:
    """Turns members into their symbols; a symbol stays as it is."""

    def __init__(self, symbols: list[str], cls: type | None = None) -> None:
        self._symbols = frozenset(symbols)
        members: list[Enum] = list(cls) if isinstance(cls, EnumType) else []
        self._by_text = {
            member.value: symbol_of(member) for member in members if isinstance(member.value, str)
        }

    def __call__(self, value: Any) -> str:
        symbol = value.value if isinstance(value, Enum) else value
        if type(symbol) is str and symbol in self._symbols:
            return symbol
        if isinstance(value, Enum):
            symbol = symbol_of(value)
        elif type(value) is str:
            symbol = self._by_text.get(value)
        if type(symbol) is str and symbol in self._symbols:
            return symbol
        raise ValueError(f"must be one of the symbols {', '.join(sorted(self._symbols))}")


def _at(name: str, error: Exception) -> ValueAtError:
    if isinstance(error, ValueAtError):
        return ValueAtError(f"{name}.{error.path}", str(error))
    reason = "it has no value" if isinstance(error, KeyError) else str(error)
    return ValueAtError(name, reason)


class _UnionWriter:
    """Chooses the branch by the value's Python type, so that fastavro need not try them all."""

    def __init__(
        self, branches: list[tuple[Any, Convert | None]], declared: frozenset[type]
    ) -> None:
        self._declared = declared
        self._by_type: dict[type, _Branch] = {}
        self._by_other_type: WeakKeyDictionary[type, _Branch] = WeakKeyDictionary()
        self._by_name: dict[str, _Branch] = {}
        # Logical types go first: a tuple is meant for a tuple's record, not for an array.
        for schema, convert in sorted(branches, key=lambda branch: not _logical(branch[0])):
            name = _branch_name(schema)
            self._by_name[name] = (name, convert)
            self._by_name.setdefault(short_name(name), (name, convert))
            for python_type in _python_types(schema, name):
                self._by_type.setdefault(python_type, (name, convert))
        for schema, convert in branches:
            # A model with use_enum_values holds an enum's text; a str may hold a UUID's text.
            if isinstance(convert, _EnumWriter) or _base(schema) == "string":
                self._by_type.setdefault(str, (_branch_name(schema), convert))
        # The only record is meant for a model of any name, as in reading.
        records = [(_branch_name(s), c) for s, c in branches if isinstance(c, _RecordWriter)]
        if len(records) == 1:
            self._by_type.setdefault(BaseModel, records[0])

    def __call__(self, value: Any) -> Any:
        cls = type(value)
        name, convert = self._by_type.get(cls) or self._find(cls)
        if value is None:
            return None
        return (name, convert(value) if convert else value)

    def _find(self, cls: type) -> _Branch:
        branch = self._by_other_type.get(cls)
        if branch is None:
            branch = self._search(cls)
            branches = self._by_type if cls in self._declared else self._by_other_type
            branches[cls] = branch
        return branch

    def _search(self, cls: type) -> _Branch:
        for base in cls.__mro__:
            branch = self._by_type.get(base) or self._by_class_name(base)
            if branch is not None:
                return branch
        if issubclass(cls, Enum) and len(cls):
            return self._search(type(next(iter(cls)).value))  # an Enum of ints is a long
        if issubclass(cls, int) and float in self._by_type:
            return self._by_type[float]
        allowed = sorted({name for name, _ in self._by_name.values()})
        raise TypeError(f"must be one of {', '.join(allowed)}, got {cls.__name__}")

    def _by_class_name(self, cls: type) -> _Branch | None:
        if not issubclass(cls, BaseModel | Enum):
            return None
        name = full_name(cls)
        return self._by_name.get(name) or self._by_name.get(short_name(name))


def _described(value: Any) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else type(value).__name__


def _branch_name(schema: Any) -> str:
    if isinstance(schema, dict):
        return str(schema.get("name") or schema["type"])
    return str(schema)


def _base(schema: Any) -> Any:
    return schema["type"] if isinstance(schema, dict) else schema


def _logical(schema: Any) -> str | None:
    return schema.get("logicalType") if isinstance(schema, dict) else None


def _python_types(schema: Any, name: str) -> tuple[type, ...]:
    if isinstance(schema, dict) and schema["type"] == "fixed":
        name = "bytes"
    return python_types(_logical(schema)) or _PYTHON_TYPES.get(name, ())


def _array(item: Convert | None) -> Convert | None:
    if item is None:
        return None
    return lambda values: [item(value) for value in values]


def _map(item: Convert | None) -> Convert | None:
    if item is None:
        return None
    return lambda values: {key: item(value) for key, value in values.items()}


def _long(value: Any) -> int:
    if not isinstance(value, int):
        if not isinstance(value, Enum):
            raise TypeError(f"must be an int, got {type(value).__name__}")
        return _long(value.value)
    if not _LONG_MIN <= value <= _LONG_MAX:
        raise ValueError("the number does not fit into Avro's long (64 bits)")
    return value


def _int(value: Any) -> int:
    number = _long(value)
    if not _INT_MIN <= number <= _INT_MAX:
        raise ValueError("the number does not fit into Avro's int (32 bits)")
    return number


def _double(value: Any) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    raise TypeError(f"must be a float, got {type(value).__name__}")


def _truth(value: Any) -> bool:
    if value is True or value is False:
        return value
    raise TypeError(f"must be a bool, got {type(value).__name__}")


_PRIMITIVES: dict[str, Convert] = {
    "int": _int,
    "long": _long,
    "float": _double,
    "double": _double,
    "boolean": _truth,
}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "int": (int,),
    "long": (int,),
    "float": (float,),
    "double": (float,),
    "string": (str,),
    "bytes": (bytes,),
    "array": (list, set, frozenset, tuple),
    "map": (dict,),
}
